"""The sprite-2 model's sampler: what the denoiser is shown of a segment, and the steps from noise to latents.

A `Shot` holds all that one segment's denoising is conditioned on. Shots of one canvas can be stepped together, however
much each of them remembers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from engines.families.base import Engines
from engines.families.sprite import packing
from engines.families.sprite.packing import Part
from engines.families.sprite.stage import Moment
from engines.families.sprite.words import Words
from engines.families.sprite.world import F32, SUBJECTS_MAX, Grid

Constant = dict[str, npt.NDArray[np.generic]]


@dataclass(frozen=True)
class Remembered:
    """A view of a column of the ring."""

    column: int
    pan: int
    """The camera's motion in the latent that it is taken from; 0 for a still."""
    tokens: F32
    """[rows, 64]"""


@dataclass(frozen=True)
class Shot:
    """One segment to make."""

    grid: Grid
    words: Words
    target: tuple[Moment, ...]
    """Five moments of a first segment, four of an extension."""
    short: tuple[Moment, F32] | None
    """The newest latent and its tokens [n, 64]; None for a first segment."""
    memory: tuple[Remembered, ...]
    references: tuple[F32 | None, ...]
    """Of each subject, in their order, the one token that shows it, [64]; None where no picture does."""


def sample(engines: Engines, shots: Sequence[Shot], rng: np.random.Generator, steps: int) -> F32:
    """Denoise shots of one canvas that are all first segments or all extensions: tokens [B, latents, n, 64]."""
    constant, context = pack(shots)
    grid, count = shots[0].grid, len(shots[0].target)
    shape = (len(shots), count * grid.rows * grid.cols, packing.TOKEN_FEATURES)
    x = rng.standard_normal(shape, dtype=np.float32)
    for now, then in pairwise(packing.times(steps).tolist()):
        inputs = {**constant, "tokens": np.concatenate([context, x], 1), "levels": packing.levels(len(shots), now)}
        clean = np.asarray(engines.infer("dit", inputs)["x0"], np.float32)[:, context.shape[1] :]
        x = packing.euler(x, clean, now, then)
    return x.reshape(len(shots), count, grid.rows * grid.cols, packing.TOKEN_FEATURES)


def pack(shots: Sequence[Shot], *, columns: int = 0) -> tuple[Constant, F32]:
    """What stays the same over the steps: the denoiser's inputs, and the tokens before the target [B, S, 64].

    There is room for so many remembered columns, or for as many as there are.
    """
    columns = max(columns, *(len(shot.memory) for shot in shots))
    rows = [_row(shot, columns) for shot in shots]
    parts = [row.parts for row in rows]
    constant: Constant = {
        "ids": np.stack([shot.words.ids for shot in shots]),
        "stand": np.stack([shot.words.stand for shot in shots]),
        "places": np.stack([np.concatenate([part.places for part in row]) for row in parts]),
        "role": np.concatenate([part.role for part in parts[0]]),
        "segment": np.concatenate([np.full(len(part.role), part.segment) for part in parts[0]]),
        "pan": np.stack([np.concatenate([part.pan for part in row]) for row in parts]),
        "present": np.stack([row.present for row in rows]),
    }
    return constant, np.stack([row.context for row in rows])


@dataclass(frozen=True)
class _Row:
    parts: list[Part]
    context: F32
    present: F32


def _row(shot: Shot, columns: int) -> _Row:
    """One shot's tokens, with the memory padded to so many columns."""
    grid = shot.grid
    empty = np.zeros(packing.TOKEN_FEATURES, np.float32)
    parts = [packing.reference_part(shot.target[-4], grid)]
    context = [np.stack([empty if token is None else token for token in shot.references])]
    present = [np.array([token is not None for token in shot.references])]
    if columns:
        missing = columns - len(shot.memory)
        of_columns = (*(view.column for view in shot.memory), *(0,) * missing)
        pans = (*(view.pan for view in shot.memory), *(0,) * missing)
        parts.append(packing.memory_part(of_columns, pans, grid))
        context += [*(view.tokens for view in shot.memory), np.zeros((missing * grid.rows, len(empty)), np.float32)]
        present.append(np.repeat(np.arange(columns) < len(shot.memory), grid.rows))
    if shot.short is not None:
        moment, tokens = shot.short
        parts.append(packing.latent_part("short", (moment,), grid))
        context.append(tokens)
        present.append(np.ones(len(tokens), bool))
    parts.append(packing.latent_part("target", shot.target, grid))
    present.append(np.ones(len(parts[-1].role), bool))
    assert len(shot.references) == SUBJECTS_MAX
    return _Row(parts, np.concatenate(context), np.concatenate(present).astype(np.float32))
