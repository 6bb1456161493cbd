"""What a video remembers of places that left the frame: pure rules on camera offsets, known from the directions.

An extension is shown its newest latent, and of what that does not show only the columns that the camera is about to
see: as many whatever the video's length and the world's size. Which view of a column is kept is the rule:

    stable   the stored view is replaced only when something else is to stand in the column (the rule that ships)
    newest   the last view: copies of copies drift
    random   latents drawn at random, for comparison
    none     nothing, for comparison

A scene reference is memory given in advance: views of columns that no latent has shown yet.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

import numpy as np

from engines.families.sprite.stage import Moment, State
from engines.families.sprite.world import I64

Rule = Literal["stable", "newest", "random", "none"]
RULES: Final[tuple[Rule, ...]] = ("stable", "newest", "random", "none")
RANDOM_LATENTS: Final = 4
"""Latents that the rule `random` draws: with whole keyframes for memory it would be four, too."""


def needed(newest: State | None, target: Iterable[Moment], cols: int) -> tuple[int, ...]:
    """The columns that the target will show and the newest latent does not, in the order in which they come in."""
    seen = set() if newest is None else set(newest.view(cols))
    found: list[int] = []
    for moment in target:
        view = moment.after.view(cols)
        for column in view if moment.pan >= 0 else view[::-1]:
            if column not in seen:
                seen.add(column)
                found.append(column)
    return tuple(found)


@dataclass
class Views:
    """Of each column the latent (its number in the video) whose view of it is kept."""

    rule: Rule
    latents: dict[int, int] = field(default_factory=dict)
    _labels: dict[int, I64] = field(default_factory=dict)

    def see(self, number: int, state: State, columns: Sequence[I64]) -> None:
        """Take in the end of a latent frame: `columns` are what the frame's columns are to show, from left to right, as
        labels [2 rows, 2]. `history` does the same with what stands in each."""
        for column, labels in zip(state.view(len(columns)), columns, strict=True):
            kept = self._labels.get(column)
            if kept is None or self.rule != "stable" or (kept != labels).any():
                self.latents[column] = number
                self._labels[column] = labels


def recall(
    columns: Sequence[int], views: Views, states: Sequence[State], cols: int, rng: np.random.Generator | None = None
) -> Mapping[int, int]:
    """Of the needed columns those that are remembered: column → number of the latent to take it from.

    `states` are the ends of all latents so far; `rng` draws the latents of the rule `random`.
    """
    if views.rule == "none":
        return {}
    if views.rule != "random":
        return {c: views.latents[c] for c in columns if c in views.latents}
    if rng is None:
        raise ValueError("rng: the rule random draws from it")
    drawn = rng.choice(len(states), min(RANDOM_LATENTS, len(states)), replace=False)
    seen = {c: int(k) for k in sorted(drawn) for c in states[k].view(cols)}
    return {c: seen[c] for c in columns if c in seen}
