"""The sprite model's video DiT: one packed sequence in which every segment has a noise level of its own.

Text, reference picture, history and the noised latents attend to each other; adaptive norms tell each
segment how noisy it is (conditions are clean or nearly so, the target is anywhere).  The net predicts the
clean latents of every token; only those of the target are trained and read.  `packing` says what stands
where, `train_dit` trains it, `graphs` exports it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from engines.families.sprite.packing import AXIS_TABLE_ROWS, FRAME_TABLE_ROWS, SEGMENTS, TEXT_TOKENS, TOKEN_FEATURES

WIDTH = 128
HEADS = 4
BLOCKS = 6
FREQUENCIES = 64
AUXILIARY_AFTER = 3
"""After how many blocks training reads features for its auxiliary heads."""

Spread = Callable[[Tensor], Tensor]
"""Brings a value per segment [B, 6, D] to every token [B, T, D]."""


def layer_norm(x: Tensor) -> Tensor:
    """Layer norm without parameters that stays in its input's type (autocast would turn to float32)."""
    with torch.autocast(x.device.type, enabled=False):
        return functional.layer_norm(x, (x.shape[-1],))


def unit(x: Tensor) -> Tensor:
    """RMS norm of queries and keys over a head's channels."""
    return x * torch.rsqrt(x.float().square().mean(-1, keepdim=True) + 1e-6).to(x.dtype)


class Block(nn.Module):
    """Attention and an MLP, each shifted, scaled and gated by its segment's noise level."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH)
        self.out = nn.Linear(WIDTH, WIDTH)
        self.up = nn.Linear(WIDTH, 4 * WIDTH)
        self.down = nn.Linear(4 * WIDTH, WIDTH)
        self.modulation = nn.Parameter(torch.zeros(6, WIDTH))
        self.query_scale = nn.Parameter(torch.full((HEADS, 1, WIDTH // HEADS), 1.5))
        for last in (self.out, self.down):
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)

    def forward(self, x: Tensor, modulation: Tensor, bias: Tensor | None, spread: Spread) -> Tensor:
        """x [B, T, D], modulation [B, 6 segments, 6, D], bias on attention [B, 1, 1, T] -> [B, T, D]."""
        batch, tokens, _ = x.shape
        per_segment = modulation + self.modulation.to(modulation.dtype)
        shift_1, scale_1, gate_1, shift_2, scale_2, gate_2 = (spread(m) for m in per_segment.unbind(2))
        h = layer_norm(x) * (1 + scale_1) + shift_1
        qkv = self.qkv(h).view(batch, tokens, 3, HEADS, WIDTH // HEADS)
        query, key, value = (t.transpose(1, 2) for t in qkv.unbind(2))
        # Written out: faster than scaled_dot_product_attention on CPU at this size.
        weights = (unit(query) * self.query_scale.to(query.dtype)) @ unit(key).transpose(-1, -2)
        if bias is not None:
            weights = weights + bias
        mixed = (torch.softmax(weights, -1).to(value.dtype) @ value).transpose(1, 2).reshape(batch, tokens, WIDTH)
        x = x + gate_1 * self.out(mixed)
        h = layer_norm(x) * (1 + scale_2) + shift_2
        return cast(Tensor, x + gate_2 * self.down(functional.relu(self.up(h)).square()))


class TextTable(nn.Module):
    """Word embeddings and their places: the whole text encoder."""

    def __init__(self, words: int) -> None:
        super().__init__()
        self.words = nn.Embedding(words, WIDTH)
        nn.init.normal_(self.words.weight, std=0.5)
        self.places = nn.Parameter(torch.randn(TEXT_TOKENS, WIDTH) * 0.1)

    def forward(self, token_ids: Tensor) -> Tensor:
        """int64 [B, 14] -> [B, 14, 128]."""
        return cast(Tensor, self.words(token_ids) + self.places)


class Dit(nn.Module):
    """The denoiser."""

    frequencies: Tensor
    pooled_segments: Tensor

    def __init__(self) -> None:
        super().__init__()
        segments = len(SEGMENTS)
        self.embed = nn.Linear(TOKEN_FEATURES, WIDTH)
        self.rows = nn.Parameter(torch.randn(AXIS_TABLE_ROWS, WIDTH) * 0.5)
        self.cols = nn.Parameter(torch.randn(AXIS_TABLE_ROWS, WIDTH) * 0.5)
        self.frames = nn.Parameter(torch.randn(FRAME_TABLE_ROWS, WIDTH) * 0.5)
        self.segments = nn.Parameter(torch.randn(segments, WIDTH) * 0.1)
        self.level = nn.Sequential(nn.Linear(2 * FREQUENCIES, WIDTH), nn.SiLU(), nn.Linear(WIDTH, WIDTH))
        self.pool = nn.Linear(WIDTH, WIDTH)
        self.modulate = nn.Linear(WIDTH, 6 * WIDTH)
        nn.init.normal_(self.modulate.weight, std=0.02)
        nn.init.zeros_(self.modulate.bias)
        self.modulation = nn.Parameter(torch.zeros(segments, 6, WIDTH))
        with torch.no_grad():
            # Gates start open; the projections before them start at zero.
            self.modulation[:, 2] = 1.0
            self.modulation[:, 5] = 1.0
        self.blocks = nn.ModuleList(Block() for _ in range(BLOCKS))
        self.last_modulate = nn.Linear(WIDTH, 2 * WIDTH)
        self.last = nn.Linear(WIDTH, TOKEN_FEATURES)
        for head in (self.last_modulate, self.last):
            nn.init.zeros_(head.weight)
            nn.init.zeros_(head.bias)
        steps = torch.linspace(0, math.log(1000.0), FREQUENCIES)
        self.register_buffer("frequencies", steps.exp(), persistent=False)
        # Only the target's segments see the pooled text: conditions stay what they are whatever is asked.
        target = [[float(name in ("first", "rest"))] for name in SEGMENTS]
        self.register_buffer("pooled_segments", torch.tensor(target), persistent=False)

    def forward(
        self,
        tokens: Tensor,
        text: Tensor,
        row: Tensor,
        col: Tensor,
        frame: Tensor,
        segment: Tensor,
        levels: Tensor,
    ) -> Tensor:
        """The exported call: tokens [B, S, 64], text [B, 14, 128], levels [B, 6] -> x0 [B, S, 64].

        row, col, frame and segment [S] are those of `packing.positions`.
        """
        whole = torch.cat([torch.zeros_like(segment[:1]).expand(TEXT_TOKENS), segment])

        def gather(values: Tensor) -> Tensor:
            return values.index_select(1, whole)

        place = self.rows[row] + self.cols[col] + self.frames[frame]
        return self.run(tokens, text, place, levels, gather, None)[0][:, TEXT_TOKENS:]

    def run(
        self, tokens: Tensor, text: Tensor, place: Tensor, levels: Tensor, spread: Spread, bias: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """The net itself: x0 of all 14 + S tokens, and their features after AUXILIARY_AFTER blocks.

        place [S, D] is added to the tokens, bias [B, 1, 1, 14 + S] to the attention (training masks keys
        with it).
        """
        angles = levels[..., None] * self.frequencies
        condition = self.level(torch.cat([angles.sin(), angles.cos()], -1)) + self.segments
        condition = condition + self.pooled_segments * self.pool(text.mean(1))[:, None]
        condition = functional.silu(condition)
        modulation = self.modulate(condition).unflatten(-1, (6, WIDTH)) + self.modulation
        x = torch.cat([text, self.embed(tokens) + place], 1)
        if torch.is_autocast_enabled(x.device.type):
            x, modulation = x.bfloat16(), modulation.bfloat16()
        features = x
        for count, block in enumerate(self.blocks, 1):
            x = block(x, modulation, bias, spread)
            if count == AUXILIARY_AFTER:
                features = x
        shift, scale = (spread(part) for part in self.last_modulate(condition).chunk(2, -1))
        return self.last(layer_norm(x) * (1 + scale) + shift), features
