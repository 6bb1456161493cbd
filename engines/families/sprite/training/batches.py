"""The batch of each step, drawn from the run's seed and the step alone, by worker processes where a GPU would wait.

`train_denoiser.py` takes them one after the other. A run that goes on, with more workers or fewer, sees the batches
that an unbroken one would have seen.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Final, NamedTuple

import numpy as np
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from engines.families.sprite import world
from engines.families.sprite.training.data import Batch, Maker

KINDS: Final = {"root": 0.3, "hold": 0.3, "pan": 0.4}
CANVAS_SHARES: Final = {"1:1": 0.4, "16:9": 0.35, "9:16": 0.25}
BATCH: Final = {"1:1": 20, "16:9": 14, "9:16": 14}
"""Samples of a batch, by canvas."""
PREFETCHED: Final = 2
"""Batches that each worker has ready."""


class Drawn(NamedTuple):
    """What a step trains on."""

    kind: str
    seed: int
    """For the noise of this step."""
    batch: Batch


class Batches(Dataset[Drawn]):
    """By step."""

    def __init__(self, latents: Tensor, seed: int, times: int = 1) -> None:
        """`latents`: `data.table`. `times`: how many times BATCH a batch is."""
        self._maker = Maker(latents)
        self._seed = seed
        self._times = times

    def __getitem__(self, step: int) -> Drawn:
        rng = np.random.default_rng((self._seed, step))
        noise = int(rng.integers(2**62))
        aspect = str(rng.choice(list(CANVAS_SHARES), p=list(CANVAS_SHARES.values())))
        kind = str(rng.choice(list(KINDS), p=list(KINDS.values())))
        grid, count = world.grid_of(world.CANVASES[aspect]), BATCH[aspect] * self._times
        if kind == "root":
            return Drawn(kind, noise, self._maker.root(count, grid, rng))
        return Drawn(kind, noise, self._maker.extension(count, grid, rng, panned=kind == "pan"))

    def since(self, step: int, workers: int) -> Iterator[Drawn]:
        """Those of this step and all after it, in order; `workers` processes draw ahead, 0: this one draws."""
        return iter(
            DataLoader(
                self,
                batch_size=None,
                sampler=itertools.count(step),
                num_workers=workers,
                prefetch_factor=PREFETCHED if workers else None,
            )
        )
