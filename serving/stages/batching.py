"""How many denoising steps to do at once: as many as the engine has been measured to do faster together than apart.

States of one kind (the same engine, shapes and token positions; any time, any job) can be stepped in one call. Whether
that pays depends on the engine, the device and the size: a GPU that one step leaves idle gains a lot, two CPU cores
gain a little or nothing. So nothing is assumed: `BatchCurve` learns the seconds of each batch size from the steps
themselves, tries a larger one now and then when enough slices wait, and never keeps one that does less per second than
single steps. Nor one that takes longer than two single steps: the slice that ranks best, or an urgent one that comes
while the batch runs, would wait for more than one step of its own.

`denoise.py` keeps a `Batching` per replica; the engine loop asks it and tells it what a step took.
"""

from __future__ import annotations

from collections.abc import Hashable

LARGEST = 8
GAIN = 0.05
"""A larger batch must do so much more per second than the best smaller one: noise alone is no gain."""
LONGEST = 2.0
"""A batch may take so many times as long as a single step."""
TRY_EVERY = 500
"""Batches after which a size that did not pay is tried once more."""
_TRIALS = 3
_FOLLOW = 0.2


class BatchCurve:
    """Seconds by batch size, of one kind of state. Pure."""

    def __init__(self) -> None:
        self._seconds: dict[int, float] = {}
        self._trials: dict[int, int] = {}
        self._count = 0

    def choose(self, waiting: int) -> int:
        """How many of so many waiting states to step now, at least 1."""
        best = 1
        for size in _sizes(waiting):
            if self._trials.get(size, 0) < _TRIALS:
                return size  # not known well enough: the smaller ones are, so this is its turn
            if self._pays(size, best):
                best = size
            elif size > 1:
                break  # larger ones pay no more
        return best

    def took(self, size: int, seconds: float) -> None:
        """A batch of this size took so long."""
        self._count += 1
        self._trials[size] = self._trials.get(size, 0) + 1
        before = self._seconds.get(size)
        # A step never takes less than it must, but often more: follow a faster one at once, a slower one slowly.
        slower = before is not None and seconds > before
        self._seconds[size] = before + _FOLLOW * (seconds - before) if slower and before is not None else seconds
        if self._count % TRY_EVERY == 0:
            self._trials = {known: _TRIALS for known in self._trials if known <= 1}

    def per_second(self, size: int) -> float:
        """Steps per second in batches of this size; 0 while unknown."""
        seconds = self._seconds.get(size)
        return size / seconds if seconds else 0.0

    def _pays(self, size: int, smaller: int) -> bool:
        if size == 1:
            return True
        delays = self._seconds[size] > LONGEST * self._seconds[1]
        return not delays and self.per_second(size) > (1 + GAIN) * self.per_second(smaller)


class Batching:
    """A curve for each kind of state."""

    def __init__(self) -> None:
        self._curves: dict[Hashable, BatchCurve] = {}

    def choose(self, kind: Hashable, waiting: int) -> int:
        """See `BatchCurve.choose`."""
        return self._curves.setdefault(kind, BatchCurve()).choose(waiting)

    def took(self, kind: Hashable, size: int, seconds: float) -> None:
        """See `BatchCurve.took`."""
        self._curves.setdefault(kind, BatchCurve()).took(size, seconds)


def _sizes(waiting: int) -> list[int]:
    """1, 2, 4 and so on, and no more than there are."""
    return [size for size in (1, 2, 4, LARGEST) if size <= max(1, waiting)]
