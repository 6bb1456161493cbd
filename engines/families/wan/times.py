"""Wan's denoiser where each latent has a time of its own, as Wan 2.2's model of 5B has.

diffusers gives each token its time, and so scales and shifts of its own: at 720p 27,280 times six rows of 3,072
numbers, 2 GB in float32 for one video, which every layer reads. All tokens of a latent have the same. Here they are
made once for each latent and spread where they are used. The layers are diffusers', and called one by one; `graphs.py`
calls this.
"""

from __future__ import annotations

from typing import Any, cast

from torch import Tensor


def denoised(transformer: Any, latents: Tensor, times: Tensor, text: Tensor) -> Tensor:
    """Latents [B, C, T, h, w] at times [B, T] and text [B, S, D] to velocity [B, C, T, h, w], as a
    `WanTransformer3DModel` has it for the times of all tokens. A patch is of one latent."""
    batch, _, frames, height, width = latents.shape
    _, rows, columns = transformer.config.patch_size
    turns = transformer.rope(latents)
    tokens = transformer.patch_embedding(latents).flatten(2).transpose(1, 2).contiguous()
    time, moments, text, _ = transformer.condition_embedder(times.flatten(), text, None, timestep_seq_len=frames)
    moments = moments.unflatten(2, (6, -1))
    for block in transformer.blocks:
        tokens = _through(block, tokens, text, moments, turns)
    shift, scale = (transformer.scale_shift_table[None] + time[:, :, None]).chunk(2, 2)
    tokens = transformer.proj_out(_moved(transformer.norm_out(tokens.float()), scale, shift).type_as(tokens))
    patches = tokens.reshape(batch, frames, height // rows, width // columns, rows, columns, -1)
    return cast(Tensor, patches.permute(0, 6, 1, 2, 4, 3, 5).flatten(5, 6).flatten(3, 4))


def _through(block: Any, tokens: Tensor, text: Tensor, moments: Tensor, turns: tuple[Tensor, Tensor]) -> Tensor:
    """One layer, a `WanTransformerBlock`: tokens [B, T · h · w, D], moments [B, T, 6, D]."""
    tables = (block.scale_shift_table[None] + moments.float()).chunk(6, 2)
    shift, scale, gate, shift_after, scale_after, gate_after = tables
    found = block.attn1(_moved(block.norm1(tokens.float()), scale, shift).type_as(tokens), None, None, turns)
    tokens = (tokens.float() + _by_latent(found, gate)).type_as(tokens)
    tokens = tokens + block.attn2(block.norm2(tokens.float()).type_as(tokens), text, None, None)
    found = block.ffn(_moved(block.norm3(tokens.float()), scale_after, shift_after).type_as(tokens))
    return (tokens.float() + _by_latent(found.float(), gate_after)).type_as(tokens)


def _moved(tokens: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Scaled and shifted by what each token's latent says, [B, T, 1, D]."""
    return (_latents(tokens, scale) * (1 + scale) + shift).flatten(1, 2)


def _by_latent(tokens: Tensor, gate: Tensor) -> Tensor:
    return (_latents(tokens, gate) * gate).flatten(1, 2)


def _latents(tokens: Tensor, as_in: Tensor) -> Tensor:
    """[B, T, h · w, D]."""
    return tokens.reshape(tokens.shape[0], as_in.shape[1], -1, tokens.shape[2])
