"""Helios, which goes on chunk by chunk, from checkpoints in diffusers' form that the operator brings.

It is a Wan of 14B that was trained further: VAE, text encoder, tokens and UniPC are Wan's, and read there
(`families/wan`). `architecture` reads a checkpoint, with `schedule`; `family` serves it, with `sampler`, and `history`,
which says what a chunk is shown of its video. `graphs` makes the denoiser from diffusers' own module, with `attention`;
these need `longtake[build]`.
"""
