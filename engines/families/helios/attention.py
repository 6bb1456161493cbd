"""Attention of Helios' denoiser in operators that an exporter makes little of; the numbers are diffusers' own.

`graphs.py` puts it into the module that it exports. Pairs are put together where they are turned: see
`wan/attention.py`.
"""

from __future__ import annotations

from typing import cast

import torch
from diffusers.models.transformers.transformer_helios import HeliosAttention
from torch import Tensor, nn
from torch.nn import functional

from engines.families.wan.attention import turned


class Attend:
    """What a `HeliosAttention` calls: over the tokens themselves, history in front, or over the text."""

    def __call__(
        self,
        attention: HeliosAttention,
        tokens: Tensor,
        context: Tensor | None = None,
        mask: Tensor | None = None,
        turns: Tensor | None = None,
        own: int | None = None,
    ) -> Tensor:
        """tokens [B, T, D], context [B, S, D] → [B, T, D]. The last `own` tokens are the chunk's, those before them
        show history. `mask` is None: Helios has none."""
        if mask is not None:
            raise ValueError("mask: attention of a Helios takes none")
        heads, seen = attention.heads, tokens if context is None else context
        query = _by_head(attention.norm_q(attention.to_q(tokens)), heads)
        key = _by_head(attention.norm_k(attention.to_k(seen)), heads)
        if turns is not None:
            cosine, sine = turns[:, :, None].chunk(2, -1)
            query, key = turned(query, (cosine, sine)), turned(key, (cosine, sine))
        if own is not None and context is None and attention.is_amplify_history:
            shown = tokens.shape[1] - own
            scale = 1 + torch.sigmoid(attention.history_key_scale) * (attention.max_scale - 1)
            # The scale is in float32 where the rest is in half.
            loud = (key[:, :shown] * scale.view(1, 1, -1, 1)).type_as(key)
            key = torch.cat([loud, key[:, shown:]], 1)
        value = _by_head(attention.to_v(seen), heads)
        query, key, value = (part.transpose(1, 2) for part in (query, key, value))
        found = functional.scaled_dot_product_attention(query, key, value)
        return cast(Tensor, attention.to_out[0](found.transpose(1, 2).flatten(2).type_as(query)))


def put_into(module: nn.Module) -> None:
    """Let all attention of a transformer go this way."""
    for part in module.modules():
        if isinstance(part, HeliosAttention):
            part.set_processor(Attend())


def _by_head(values: Tensor, heads: int) -> Tensor:
    """[B, T, D] → [B, T, H, d]."""
    return torch.unflatten(values, 2, (heads, -1))
