"""Attention of Wan's denoiser with rotary positions that an exporter makes little of.

diffusers writes the turned halves of each pair into an empty tensor, which becomes gathers and scatters in a graph.
Here each pair is put together where it is turned: the same numbers to the bit, in fewer operators, and a denoiser of
ONNX Runtime is faster by a tenth. `graphs.py` puts it into the modules that it exports.
"""

from __future__ import annotations

from typing import cast

import torch
from diffusers.models.transformers.transformer_wan import WanAttention
from torch import Tensor, nn
from torch.nn import functional

from engines.families.wan.architecture import TEXT_TOKENS

Turns = tuple[Tensor, Tensor]
"""Cosine and sine [1, T, 1, d], each value twice, as diffusers computes them."""


class Attend:
    """What a `WanAttention` calls: over the tokens themselves, over the text, or over picture and text."""

    def __call__(
        self,
        attention: WanAttention,
        tokens: Tensor,
        context: Tensor | None = None,
        mask: Tensor | None = None,
        turns: Turns | None = None,
    ) -> Tensor:
        """tokens [B, T, D], context [B, S, D] → [B, T, D]. `mask` is None: Wan has none."""
        if mask is not None:
            raise ValueError("mask: attention of a Wan takes none")
        heads, seen = attention.heads, tokens if context is None else context
        picture, text = (None, seen)
        if attention.add_k_proj is not None:
            # What a picture shows comes in front of the text.
            picture, text = seen[:, :-TEXT_TOKENS], seen[:, -TEXT_TOKENS:]
        query = _by_head(attention.norm_q(attention.to_q(tokens)), heads)
        key = _by_head(attention.norm_k(attention.to_k(text)), heads)
        if turns is not None:
            query, key = turned(query, turns), turned(key, turns)
        found = _mixed(query, key, _by_head(attention.to_v(text), heads))
        if picture is not None:
            key = _by_head(attention.norm_added_k(attention.add_k_proj(picture)), heads)
            found = found + _mixed(query, key, _by_head(attention.add_v_proj(picture), heads))
        return cast(Tensor, attention.to_out[0](found))


def put_into(module: nn.Module) -> None:
    """Let all attention of a transformer go this way."""
    for part in module.modules():
        if isinstance(part, WanAttention):
            part.set_processor(Attend())


def turned(values: Tensor, turns: Turns) -> Tensor:
    """Each pair of channels of [B, T, H, d] turned by its token's angle, in the type that it has."""
    cosine, sine = turns[0][..., 0::2], turns[1][..., 1::2]
    one, other = torch.unflatten(values, -1, (-1, 2)).unbind(-1)
    pairs = torch.stack([one * cosine - other * sine, one * sine + other * cosine], -1)
    return pairs.flatten(-2).type_as(values)


def _by_head(values: Tensor, heads: int) -> Tensor:
    """[B, T, D] → [B, T, H, d]."""
    return torch.unflatten(values, 2, (heads, -1))


def _mixed(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """[B, T, H, d] each → [B, T, D]."""
    query, key, value = (part.transpose(1, 2) for part in (query, key, value))
    found = functional.scaled_dot_product_attention(query, key, value)
    return found.transpose(1, 2).flatten(2).type_as(query)
