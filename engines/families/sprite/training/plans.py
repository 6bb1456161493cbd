"""Draws whole videos' directions for the scorer: possible ones, with the subjects on the screen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from engines.families.sprite.directing import CAMERAS, Action, Camera, RefusedError, Take, perform, written_out
from engines.families.sprite.memory import Rule
from engines.families.sprite.stage import Scene
from engines.families.sprite.training.drawing import draw_actions, draw_places, draw_scene
from engines.families.sprite.training.filming import Direction, Video
from engines.families.sprite.world import Art, Grid

HELD: Final = 0.55
"""Share of a mixed plan's segments in which the camera holds."""
MOVING: Final = 0.7
"""How often a subject moves in them."""
_TRIES: Final = 60


def draw_video(
    rng: np.random.Generator, grid: Grid, subjects: int, *, named: float = 0.5, rule: Rule = "stable"
) -> Video:
    """A video of a scene that training never shows, with its subjects anywhere in the first frame's sky."""
    scene, nouns = draw_scene(rng, subjects, named=named, held_out=True)
    return video_of(scene, nouns, grid, Take.at(0, draw_places(rng, subjects, grid)), rule)


def video_of(
    scene: Scene, nouns: tuple[tuple[Art, int | None], ...], grid: Grid, take: Take, rule: Rule = "stable"
) -> Video:
    """A video that has not begun."""
    return Video(scene, nouns, grid, take, rule)


def draw_plan(rng: np.random.Generator, video: Video, cameras: Sequence[Camera | None]) -> list[Direction]:
    """Directions of so many segments (None: the camera does anything) that keep every subject on the screen."""
    while True:
        plan = _tried(rng, video, cameras)
        if plan is not None:
            return plan


def _tried(rng: np.random.Generator, video: Video, cameras: Sequence[Camera | None]) -> list[Direction] | None:
    """A plan, or None where chance led to a place from which the next segment cannot be."""
    plan: list[Direction] = []
    take = video.take
    for camera in cameras:
        for _ in range(_TRIES):
            found = _segment(rng, take, camera, video.grid)
            if found is not None:
                plan.append(found[0])
                take = found[1]
                break
        else:
            return None
    return plan


def _segment(rng: np.random.Generator, take: Take, camera: Camera | None, grid: Grid) -> tuple[Direction, Take] | None:
    chosen = camera or CAMERAS[int(rng.choice(3, p=[HELD, (1 - HELD) / 2, (1 - HELD) / 2]))]
    actions: Sequence[Action] = draw_actions(rng, take, chosen, grid, MOVING)
    try:
        _, after = perform(take, written_out(take, actions, chosen, grid), chosen, grid)
    except RefusedError:
        return None
    on_screen = all(after.state.column_on_screen(i) < grid.cols for i in range(len(after.headings)))
    return ((actions, chosen), after) if on_screen else None
