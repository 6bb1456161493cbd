"""How far an engine may be from its torch module, and how far it is: largest, mean and angle, by component and batch.

`verify.py` measures, `report.py` shows it. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from engines.precision import FULL, Precisions

Array = NDArray[np.generic]


class Difference(NamedTuple):
    """Between what was wanted and what was found; NaN where either has a value that is no number."""

    largest: float
    """Relative to the largest wanted value."""
    mean: float
    """All differences together, relative to all wanted values."""
    angle: float
    """One minus the cosine between the two: 0 in the same direction."""


NOTHING: Final = Difference(float("nan"), float("nan"), float("nan"))
"""Of what is no number, of another shape, or was not asked for."""


class Levels(NamedTuple):
    """Between pixels, in levels of 255."""

    largest: float
    mean: float


@dataclass(frozen=True)
class Band:
    """What is allowed of engines of one precision: two to ten times what half costs in torch (`docs/gpu.md`). Wrong
    weights, or a wrong kernel, differ by about as much as there is."""

    call: Difference
    """Of one call of a component."""
    run: Difference
    """Of a whole run's latents: each step works on the last one's differences."""
    frames: Levels
    """Of a whole run's pixels."""


BANDS: Final = {
    FULL: Band(
        # Sums in another order differ by 1e-6 to 2e-5 here, wrong weights by 1e-1; values between two levels may be
        # rounded either way.
        call=Difference(5e-4, 5e-4, 1e-6),
        run=Difference(2e-3, 2e-3, 1e-5),
        frames=Levels(2.0, 0.1),
    ),
    "float16": Band(
        call=Difference(3e-2, 5e-3, 5e-5),
        run=Difference(5e-2, 1e-2, 1e-4),
        frames=Levels(24.0, 0.25),
    ),
    "bfloat16": Band(
        call=Difference(3e-1, 1e-1, 5e-3),
        run=Difference(3e-1, 5e-2, 3e-3),
        frames=Levels(128.0, 2.0),
    ),
}
"""By precision. Bfloat16 has 8 bits where float16 has 11, and the range of float32."""


@dataclass(frozen=True)
class Row:
    """The worst of one component at one batch."""

    component: str
    batch: int
    difference: Difference


@dataclass(frozen=True)
class Parity:
    """What was found of a set of engines."""

    rows: tuple[Row, ...]
    run: Difference
    """The worst of whole runs' latents; `NOTHING` where a component gave no numbers, for then there is no run."""
    frames: Levels
    """The worst of their pixels."""
    precisions: Precisions = field(default_factory=dict)
    """By component; float32 where none is named."""

    @property
    def components(self) -> Mapping[str, float]:
        """The largest difference of each component."""
        found: dict[str, float] = {}
        for row in self.rows:
            found[row.component] = float(np.maximum(found.get(row.component, 0.0), row.difference.largest))
        return found

    def precision(self, component: str) -> str:
        """How it computes."""
        return self.precisions.get(component, FULL)

    def band(self, component: str) -> Band:
        """What is allowed of it."""
        return BANDS[self.precision(component)]

    @property
    def widest(self) -> Band:
        """What is allowed of whole runs: as of the component that computes most coarsely."""
        return max((self.band(row.component) for row in self.rows), key=lambda band: band.call, default=BANDS[FULL])

    def problems(self) -> list[str]:
        """What is beyond its band, one sentence each; NaN is beyond any."""
        found: list[str] = []
        for row in self.rows:
            kind = self.precision(row.component)
            what = row.component if kind == FULL else f"{row.component} in {kind}"
            found += _beyond(f"{what}, B={row.batch},", row.difference, BANDS[kind].call)
        if any(np.isnan(row.difference).any() for row in self.rows):
            return found
        found += _beyond("latents of a whole run", self.run, self.widest.run)
        found += [
            f"pixels of a whole run differ by {value:.2g} levels {how} (at most {most:g})"
            for how, value, most in zip(("at most", "in the mean"), self.frames, self.widest.frames, strict=True)
            if not value <= most
        ]
        return found


def difference(wanted: Array, found: Array) -> Difference:
    """Of two arrays; NaN for another shape."""
    expected, got = np.asarray(wanted, np.float64).ravel(), np.asarray(found, np.float64).ravel()
    if np.shape(wanted) != np.shape(found) or not np.isfinite(got).all():
        return NOTHING
    apart, sizes = np.abs(expected - got), np.abs(expected)
    largest = float(apart.max() / max(float(sizes.max()), 1e-6))
    mean = float(apart.sum() / max(float(sizes.sum()), 1e-6))
    lengths = float(np.linalg.norm(expected) * np.linalg.norm(got))
    return Difference(largest, mean, max(1 - float(expected @ got) / lengths, 0.0) if lengths else largest)


def levels(wanted: Array, found: Array) -> Levels:
    """Of two arrays of pixels, 0..255."""
    expected, got = np.asarray(wanted, np.float64), np.asarray(found, np.float64)
    if expected.shape != got.shape:
        return Levels(float("nan"), float("nan"))
    apart = np.abs(expected - got)
    return Levels(float(apart.max()), float(apart.mean()))


def worse(a: Difference, b: Difference) -> Difference:
    """The worse of each, and NaN if one is NaN."""
    return Difference(*(float(np.maximum(*pair)) for pair in zip(a, b, strict=True)))


def worse_levels(a: Levels, b: Levels) -> Levels:
    """The same of pixels."""
    return Levels(*(float(np.maximum(*pair)) for pair in zip(a, b, strict=True)))


def _beyond(what: str, found: Difference, allowed: Difference) -> Iterator[str]:
    if np.isnan(found).any():
        yield f"{what} gives what is no number, or of another shape"
        return
    said = (
        ("differs by {:.2g} of its scale", found.largest, allowed.largest),
        ("differs by {:.2g} in the mean", found.mean, allowed.mean),
        ("has a cosine of one less {:.2g} with it", found.angle, allowed.angle),
    )
    for sentence, value, most in said:
        if not value <= most:
            yield f"{what} {sentence.format(value)} (at most {most:g})"
