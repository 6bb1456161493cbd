"""The sprite-2 model's denoiser: one packed sequence in which every segment has a noise level of its own.

Words, references, remembered columns, the newest latent and the noised target attend to each other. Where a token
stands, on the ring and in its row, is told by rotating queries and keys (RoPE on the coordinates of the world, exactly
periodic on the ring): what is at one place of the world finds itself again whatever frame it is in, so to remember, to
follow a reference and to obey a word that stands at a place are one and the same kind of copying. The net predicts the
clean latents of every token; only those of the target are trained and read.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from engines.families.sprite.packing import ROLES, SEGMENTS, TOKEN_FEATURES
from engines.families.sprite.words import SLOTS, VOCAB
from engines.families.sprite.world import CANVASES, RING, TOKEN_PX

WIDTH: Final = 96
HEADS: Final = 3
BLOCKS: Final = 6
FREQUENCIES: Final = 64
AUXILIARY_AFTER: Final = 3
"""After how many blocks training reads features for its auxiliary heads."""
ROWS: Final = max(height for height, _ in CANVASES.values()) // TOKEN_PX
COLUMN_TURNS: Final = (1, 2, 3, 5, 8, 13)
"""Turns round the ring of each rotated pair of a head's channels; whole ones, so that the ring closes."""
ROW_TURNS: Final = (1, 2, 3, 5)
ROW_PERIOD: Final = 16

Spread = Callable[[Tensor], Tensor]
"""Brings a value per segment [B, 5, D] to every token [B, T, D]."""


def layer_norm(x: Tensor) -> Tensor:
    """Layer norm without parameters that stays in its input's type (autocast would turn to float32)."""
    with torch.autocast(x.device.type, enabled=False):
        return functional.layer_norm(x, (x.shape[-1],))


def unit(x: Tensor) -> Tensor:
    """RMS norm of queries and keys over a head's channels."""
    return x * torch.rsqrt(x.float().square().mean(-1, keepdim=True) + 1e-6).to(x.dtype)


def rotate(x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """Rotate the first channels of each head [B, H, T, d] in pairs by angles [B, 1, T, P]; the others stay."""
    pairs = cosine.shape[-1]
    a, b, plain = x.split([pairs, pairs, x.shape[-1] - 2 * pairs], -1)  # type: ignore[no-untyped-call]
    return torch.cat([a * cosine - b * sine, a * sine + b * cosine, plain], -1).to(x.dtype)


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

    def forward(
        self, x: Tensor, modulation: Tensor, bias: Tensor, turn: tuple[Tensor, Tensor], spread: Spread
    ) -> Tensor:
        """x [B, T, D], modulation [B, 5 segments, 6, D], bias on attention [B, 1, 1, T] -> [B, T, D]."""
        batch, tokens, _ = x.shape
        per_segment = modulation + self.modulation.to(modulation.dtype)
        shift_1, scale_1, gate_1, shift_2, scale_2, gate_2 = (spread(m) for m in per_segment.unbind(2))
        h = layer_norm(x) * (1 + scale_1) + shift_1
        qkv = self.qkv(h).view(batch, tokens, 3, HEADS, WIDTH // HEADS)
        query, key, value = (t.transpose(1, 2) for t in qkv.unbind(2))
        query = rotate(unit(query) * self.query_scale.to(query.dtype), *turn)
        weights = query @ rotate(unit(key), *turn).transpose(-1, -2) + bias
        mixed = (torch.softmax(weights, -1).to(value.dtype) @ value).transpose(1, 2).reshape(batch, tokens, WIDTH)
        x = x + gate_1 * self.out(mixed)
        h = layer_norm(x) * (1 + scale_2) + shift_2
        return cast(Tensor, x + gate_2 * self.down(functional.relu(self.up(h)).square()))


class Denoiser(nn.Module):
    """The net."""

    frequencies: Tensor
    turns: Tensor
    target_only: Tensor

    def __init__(self) -> None:
        super().__init__()
        segments = len(SEGMENTS)
        self.words = nn.Embedding(len(VOCAB), WIDTH)
        nn.init.normal_(self.words.weight, std=0.5)
        self.slots = nn.Parameter(torch.randn(SLOTS, WIDTH) * 0.5)
        self.embed = nn.Linear(TOKEN_FEATURES, WIDTH)
        self.rows = nn.Parameter(torch.randn(ROWS, WIDTH) * 0.5)
        self.roles = nn.Parameter(torch.randn(len(ROLES), WIDTH) * 0.5)
        self.pans = nn.Parameter(torch.randn(3, WIDTH) * 0.5)
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
        columns, rows = torch.tensor(COLUMN_TURNS) / RING, torch.tensor(ROW_TURNS) / ROW_PERIOD
        turns = torch.zeros(2, len(columns) + len(rows))
        turns[0, : len(columns)], turns[1, len(columns) :] = columns, rows
        self.register_buffer("turns", 2 * math.pi * turns, persistent=False)
        # Only the target sees the pooled words: conditions stay what they are whatever is asked.
        self.register_buffer(
            "target_only", torch.tensor([[float(name == "target")] for name in SEGMENTS]), persistent=False
        )

    def forward(
        self,
        ids: Tensor,
        stand: Tensor,
        tokens: Tensor,
        places: Tensor,
        role: Tensor,
        pan: Tensor,
        segment: Tensor,
        present: Tensor,
        levels: Tensor,
    ) -> Tensor:
        """The exported call: ids [B, 14], tokens [B, S, 64], levels [B, 5] -> x0 [B, S, 64].

        stand [B, 14, 2] and places [B, S, 2]: (column, row) of words and tokens; pan [B, S]; role and segment [S];
        present [B, S], 0 for tokens that are padding.
        """
        whole = torch.cat([torch.zeros_like(segment[:1]).expand(SLOTS), segment])

        def gather(values: Tensor) -> Tensor:
            return values.index_select(1, whole)

        return self.run(ids, tokens, torch.cat([stand, places], 1), role, pan, present, levels, gather)[0][:, SLOTS:]

    def run(
        self,
        ids: Tensor,
        tokens: Tensor,
        places: Tensor,
        role: Tensor,
        pan: Tensor,
        present: Tensor,
        levels: Tensor,
        spread: Spread,
    ) -> tuple[Tensor, Tensor]:
        """The net itself: x0 of all 14 + S tokens, and their features after AUXILIARY_AFTER blocks.

        places [B, 14 + S, 2] are those of the words, too.
        """
        text = self.words(ids)
        angles = levels[..., None] * self.frequencies
        condition = self.level(torch.cat([angles.sin(), angles.cos()], -1)) + self.segments
        condition = condition + self.target_only * self.pool(text.mean(1))[:, None]
        condition = functional.silu(condition)
        modulation = self.modulate(condition).unflatten(-1, (6, WIDTH)) + self.modulation
        placed = self.rows[places[:, SLOTS:, 1]] + self.roles[role] + self.pans[pan]
        x = torch.cat([text + self.slots, self.embed(tokens) + placed], 1)
        bias = (torch.cat([torch.ones_like(present[:, :1]).expand(-1, SLOTS), present], 1) - 1) * 1e4
        with torch.autocast(x.device.type, enabled=False):  # in bfloat16 angles would be half a radian off
            theta = (places.to(self.turns.dtype) @ self.turns)[:, None]
        turn = (theta.cos(), theta.sin())
        if torch.is_autocast_enabled(x.device.type):
            x, modulation, bias = x.bfloat16(), modulation.bfloat16(), bias.bfloat16()
            turn = (turn[0].bfloat16(), turn[1].bfloat16())
        features = x
        for count, block in enumerate(self.blocks, 1):
            x = block(x, modulation, bias[:, None, None], turn, spread)
            if count == AUXILIARY_AFTER:
                features = x
        shift, scale = (spread(part) for part in self.last_modulate(condition).chunk(2, -1))
        return self.last(layer_norm(x) * (1 + scale) + shift), features
