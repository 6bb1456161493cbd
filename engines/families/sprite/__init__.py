"""The sprite-2 model: a small video model that is directed, in a world that must be remembered.

`world`, `codes`, `stage`, `directing`, `memory`, `words` and `packing` need numpy alone, `vae`, `denoiser` and most of
`training` need torch.
"""
