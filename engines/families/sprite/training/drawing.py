"""Draws training samples by what their target asks: first its kind, then a history that leads there.

Simulating captions at random leaves the subjects off-screen most of the time, and what is asked for least is learnt
last. So subjects are on the screen here unless the kind is `return`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from engines.families.sprite.directing import CAMERAS, PANS, Action, Camera, RefusedError, Take, perform, written_out
from engines.families.sprite.memory import Rule, Views, needed, recall
from engines.families.sprite.stage import Moment, Place, Scene, still
from engines.families.sprite.world import (
    FIRST_SKY,
    LABELS,
    RING,
    Art,
    Grid,
    Named,
    named_is_held_out,
    random_named,
    random_pattern,
    random_scenery,
)

Kind = Literal["root", "turn", "stay", "wait", "along", "return"]
HOLDS: Final[tuple[Kind, ...]] = ("turn", "turn", "stay")
PANNED: Final[tuple[Kind, ...]] = ("wait", "along", "return")
HISTORY_MAX: Final = 6
"""Segments of a drawn history, at most."""
SUBJECT_SHARES: Final = (0.05, 0.35, 0.6)
"""Of samples with no subject (scenery alone), one and two."""
PATTERNS: Final = 0.85
"""Share of the references that show a pattern; the others show what words could name."""
_TRIES: Final = 40


@dataclass(frozen=True)
class Sample:
    """A target and all that the net is shown beside it."""

    scene: Scene
    nouns: tuple[tuple[Art, int | None], ...]
    """Each subject's art, and the number of the reference that shows it."""
    past: tuple[Moment, ...]
    """All latents before the target, the first one still; none for a root."""
    target: tuple[Moment, ...]
    memory: dict[int, Moment]
    """Remembered columns and the latents that they come from; of a root, columns of a given panorama."""
    kind: Kind


def draw_scene(
    rng: np.random.Generator, count: int, *, named: float = 0.5, held_out: bool = False
) -> tuple[Scene, tuple[tuple[Art, int | None], ...]]:
    """A scene with so many subjects: this share of them named, the others shown by a reference.

    `held_out`: patterns and combinations that training never shows, and no other ones.
    """
    sky = int(rng.integers(FIRST_SKY, LABELS))
    nouns: list[tuple[Art, int | None]] = []
    while len(nouns) < count:
        # A sky may have only one combination that is held out: then the second subject is another named one.
        reference = len(nouns) if rng.random() >= named else None
        by_pattern = reference is not None and (held_out or rng.random() < PATTERNS)
        art: Art = random_pattern(rng, held_out=held_out) if by_pattern else random_named(rng)
        told = reference is None and isinstance(art, Named)
        if told and isinstance(art, Named) and named_is_held_out(art, sky) != (held_out and not nouns):
            continue
        if all(art != other for other, _ in nouns):
            nouns.append((art, reference))
    return Scene(sky, random_scenery(rng), tuple(art for art, _ in nouns)), tuple(nouns)


def draw_places(rng: np.random.Generator, count: int, grid: Grid) -> list[Place]:
    """Different places in the sky of a frame at offset 0."""
    chosen = rng.permutation(grid.sky_rows * grid.cols)[:count]
    return [(int(i) % grid.cols, int(i) // grid.cols) for i in chosen]


def draw_actions(rng: np.random.Generator, take: Take, camera: Camera, grid: Grid, moving: float) -> list[Action]:
    """Possible actions; a subject that is on the screen moves with this probability."""
    result: list[Action] = []
    for subject in range(len(take.headings)):
        on_screen = take.state.column_on_screen(subject) < grid.cols
        if not on_screen or rng.random() >= moving:
            result.append("stays")
        elif PANS[camera]:
            result.append("goes along")
        else:
            result.append(("left", "right", "up", "down")[int(rng.integers(4))])
    return result


def draw(
    rng: np.random.Generator,
    kind: Kind,
    grid: Grid,
    rule: Rule,
    *,
    subjects: int | None = None,
    held_out: bool = False,
) -> Sample:
    """One sample of this kind; with so many subjects, or as training has them."""
    while True:
        count = int(rng.choice(3, p=SUBJECT_SHARES)) if subjects is None else subjects
        scene, nouns = draw_scene(rng, count, held_out=held_out)
        if kind in ("turn", "along") and not nouns:
            continue
        offset = int(rng.integers(RING))
        places = [((col + offset) % RING, row) for col, row in draw_places(rng, len(nouns), grid)]
        take = Take.at(offset, places)
        found = _root(rng, take, grid) if kind == "root" else _extension(rng, scene, take, kind, grid, rule)
        if found is not None:
            past, target, memory = found
            return Sample(scene, nouns, past, target, memory, kind)


_Found = tuple[tuple[Moment, ...], tuple[Moment, ...], dict[int, Moment]]


def _root(rng: np.random.Generator, take: Take, grid: Grid) -> _Found | None:
    camera = CAMERAS[int(rng.choice(3, p=[0.5, 0.25, 0.25]))]
    begin = still(take.state)
    try:
        moments, _ = perform(take, draw_actions(rng, take, camera, grid, 0.75), camera, grid)
    except RefusedError:
        return None
    target = (begin, *moments)
    return (), target, dict.fromkeys(needed(None, target, grid.cols), begin)


def _extension(rng: np.random.Generator, scene: Scene, take: Take, kind: Kind, grid: Grid, rule: Rule) -> _Found | None:
    """A history that leads to a target of this kind, or None where chance led elsewhere."""
    past = [still(take.state)]
    out: Camera = CAMERAS[1 + int(rng.integers(2))]
    back: Camera = "pans left" if out == "pans right" else "pans right"
    for camera in _history(rng, kind, out, back):
        moving = 0.75 if camera == "holds" else 0.25 if kind == "return" else 0.7
        played = _play(rng, take, camera, grid, moving)
        if played is None:
            return None
        past += played[0]
        take = played[1]
    camera = "holds" if kind in HOLDS else back if kind == "return" else out if rng.random() < 0.7 else back
    on_screen = [take.state.column_on_screen(i) < grid.cols for i in range(len(take.headings))]
    if on_screen and not any(on_screen) and (kind != "return" or rng.random() < 0.3):
        return None
    if kind == "along" and not any(on_screen):
        return None
    moving = {"turn": 0.85, "along": 0.8, "return": 0.3}.get(kind, 0.0)
    played = _play(rng, take, camera, grid, moving)
    if played is None:
        return None
    target = played[0]
    views = Views(rule)
    states = [moment.after for moment in past]
    for number, moment in enumerate(past):
        views.see(number, moment.after, np.split(scene.labels(moment, grid), grid.cols, 1))
    kept = recall(needed(states[-1], target, grid.cols), views, states, grid.cols, rng)
    return tuple(past), target, {column: past[number] for column, number in kept.items()}


def _history(rng: np.random.Generator, kind: Kind, out: Camera, back: Camera) -> list[Camera]:
    """What the camera did before the target."""
    if kind == "return":
        turns = int(rng.integers(1, 4))
        holds = int(rng.integers(0, 3))
        before: list[Camera] = ["holds"] * int(rng.integers(0, 2))
        still_there: list[Camera] = ["holds"] * holds
        return [*before, *([out] * turns), *still_there]
    count = int(rng.choice([0, 1, 2, 3, HISTORY_MAX], p=[0.12, 0.35, 0.25, 0.18, 0.1]))
    cameras: tuple[Camera, ...] = ("holds", out, back)
    return [cameras[int(rng.choice(3, p=[0.6, 0.3, 0.1]))] for _ in range(count)]


def _play(
    rng: np.random.Generator, take: Take, camera: Camera, grid: Grid, moving: float
) -> tuple[tuple[Moment, ...], Take] | None:
    """One segment with actions that are possible, or None after many tries."""
    for _ in range(_TRIES):
        try:
            actions = draw_actions(rng, take, camera, grid, moving)
            return perform(take, written_out(take, actions, camera, grid), camera, grid)
        except RefusedError:
            continue
    return None
