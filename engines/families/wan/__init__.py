"""The Wan models (2.1 and 2.2), from checkpoints in diffusers' form that the operator brings.

`architecture` reads a checkpoint, with `schedule` and `sight`; `opening` takes the family for it. `family` serves text
alone, with `sampler`, `unipc`, `tokens` and `video`, and with `around`, which Helios has too (`families/helios`); on
`clips`, which encodes frames, stand `vace`, with `control` and `history`, `image` and `still`. `weights`, `vae` and
`graphs` make the modules from diffusers' and transformers' own, `preview` fits one to them; these need
`longtake[build]`.
"""
