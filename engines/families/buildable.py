"""What a family adds to `base.Family` so that its engines can be built, verified and scored here.

`engines/models.py` registers such families; `engines/building` and `longtake engines` ask them. The stages never do:
who only serves needs `base.Family` alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from engines.checkpoints.adapters import Layer
from engines.checkpoints.files import Files
from engines.families.base import Engines, Family
from engines.families.capabilities import Canvas
from engines.families.graph import GraphSpec

PROBE_SEED: Final = 20
"""Verification draws all that is random from it: another seed makes recorded answers worthless."""


@dataclass(frozen=True)
class Sizes:
    """What an operator may choose for a checkpoint that takes any size: less than it was trained with takes
    less memory."""

    canvases: tuple[Canvas, ...] = ()
    """The first one is the default; none: those that the checkpoint was trained with."""
    seconds: int = 0
    """Of a segment; 0: as it was trained."""


@dataclass(frozen=True)
class Case:
    """One call of one component, to be answered alike by its engine and by its torch module."""

    component: str
    name: str
    """Unique among the component's cases."""
    inputs: Mapping[str, NDArray[np.generic]]


class BuildableFamily(Family, Protocol):
    """A family with weights, from which its engines are built."""

    weights: Files
    """Where its weights lie, *.safetensors."""
    prebuilt: Path
    """Folder of the engines that are shipped with it; it may be missing."""
    packages: tuple[str, ...]
    """Python packages that serving it takes besides Longtake's own."""
    probe_prompt: str
    """What the whole runs of a verification show."""
    probe_canvases: tuple[Canvas, ...]
    """Sizes of those runs: small ones, where the model's own would take a machine that the builder need not have."""

    def graphs(self, weights: Files, digests: Mapping[str, str] | None = None) -> Mapping[str, GraphSpec]:
        """Its components as torch modules with these weights, one of each name. Needs torch.

        `digests` are those of the files when the model was recorded: other bytes are refused. Without them the files
        are taken as they are.
        """

    def cases(self) -> Iterator[Case]:
        """Random inputs of every component, drawn from `PROBE_SEED` alone, so that any install draws the same."""


@runtime_checkable
class AdaptableFamily(BuildableFamily, Protocol):
    """A family whose models take LoRA adapters."""

    def layers(self) -> Mapping[str, Layer]:
        """The layers of its modules that an adapter may change, by every name that adapters have for each."""


@runtime_checkable
class ScoredFamily(BuildableFamily, Protocol):
    """A family whose videos can be judged by what they show."""

    scores: tuple[str, ...]
    """Names of its tables, the one that is made soonest first."""

    def score(self, engines: Engines, table: str, *, cases: int, steps: int, seed: int) -> Iterator[str]:
        """One of its tables in Markdown, line by line as it is measured, of so many videos a row on each canvas."""
