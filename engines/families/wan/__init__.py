"""The Wan models (2.1 and 2.2), from checkpoints in diffusers' form that the operator brings.

`architecture` reads a checkpoint; `family` serves it, with `sampler`, `unipc`, `tokens` and `video`; `vace` those of
Wan-VACE, with `control` and `history`. `weights`, `vae` and `graphs` make the modules from diffusers' and transformers'
own, `preview` fits one to them; these need `longtake[build]`.
"""
