"""The sprite model: a small video model that is shipped with its world, its training and its scores.

`family` serves it; `world`, `captions`, `packing`, `reference` and `decode` need numpy alone, while `vae`, `dit`,
`graphs` and most of `training` need torch.
"""
