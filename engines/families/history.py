"""The history plan: what a segment is shown of its video, and what is kept of it for later ones.

A family plans (`Family.plan_history`), purely, from the caption and from what stands fixed where the segment begins.
The Director asks, the Conditioner reads what the plan names and nothing else, and the segment's manifest records it. So
an extension costs what its plan says, however long the video is.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from engines.families.capabilities import Canvas, Role

SourceKind = Literal["anchor", "newest", "memory", "reference"]


@dataclass(frozen=True)
class Reference:
    """A reference picture, as a family read it."""

    role: Role = "subject"
    facts: str = ""
    """`ReferenceReading.facts`."""


@dataclass(frozen=True)
class Before:
    """What stands fixed where a segment begins."""

    canvas: Canvas
    latents: int = 0
    """Of the video so far; 0: the segment is a video's first."""
    facts: str = ""
    """The plan's of the segment before; those of a given first frame, or of the last one of a film from elsewhere."""
    first: bool = False
    """A first frame is given."""
    references: tuple[Reference, ...] = ()


@dataclass(frozen=True)
class Source:
    """One thing that a segment is shown besides its caption."""

    kind: SourceKind
    numbers: tuple[int, ...]
    """Latents of the video, counted from 0; of a reference its place among the pictures."""
    tokens: int
    """What it takes of the denoiser's sequence."""
    shows: str = ""
    """In words, where there is something to tell."""


@dataclass(frozen=True)
class HistoryPlan:
    """Of one segment."""

    sources: tuple[Source, ...] = ()
    keep: tuple[int, ...] = ()
    """Latents, of this segment and of those before, that a later plan may ask for as memory: a bounded number, whatever
    the video's length."""
    facts: str = ""
    """What the plan of the next segment has to know; the family's own, at most some kilobytes."""

    def of(self, kind: SourceKind) -> tuple[int, ...]:
        """What is shown of this kind, in order."""
        return tuple(number for source in self.sources if source.kind == kind for number in source.numbers)

    @property
    def latents(self) -> int:
        """How many of the video's latents the segment is shown."""
        return len({number for source in self.sources if source.kind != "reference" for number in source.numbers})


def anchored(before: Before, *, newest: int, latent_tokens: int, reference_tokens: int) -> HistoryPlan:
    """The plan of a family that goes on after a video's first latent and its `newest` ones, and remembers no others."""
    pictures = _references(range(len(before.references)), reference_tokens)
    if not before.latents:
        return HistoryPlan(pictures)
    shown = tuple(range(max(0, before.latents - newest), before.latents))
    return HistoryPlan(
        (
            Source("anchor", (0,), latent_tokens),
            Source("newest", shown, latent_tokens * len(shown)),
            *pictures,
        )
    )


def _references(numbers: Iterable[int], tokens: int) -> tuple[Source, ...]:
    return tuple(Source("reference", (number,), tokens) for number in numbers)
