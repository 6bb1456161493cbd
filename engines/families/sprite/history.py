"""What a segment of sprite-2 shows and is shown: its caption acted out, and the views that it needs and that are kept.

Pure, and cheap enough to be done wherever it is asked: by the Director, which reads from the store what the plan names,
and by the Denoiser, which packs it. Where camera and subjects are is known from the directions, so nothing is read from
pixels: a column's stored view is replaced when the plan has something else stand there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from engines.families.history import Before, HistoryPlan, Source
from engines.families.sprite import words
from engines.families.sprite.casting import Noun
from engines.families.sprite.directing import Take, perform
from engines.families.sprite.memory import needed
from engines.families.sprite.planner import Facts
from engines.families.sprite.sentences import read
from engines.families.sprite.stage import Moment, State, still
from engines.families.sprite.words import Words
from engines.families.sprite.world import FIRST_SKY, RING, SKY_NAMES, SUBJECTS_MAX, Grid, grid_of

Standing = tuple[tuple[int, int], ...]
"""(subject, row) of what stands in a column."""
SCENE: Final = -1
"""In place of a latent's number: the scene's picture."""


@dataclass(frozen=True)
class View:
    """Where a column of the ring was seen last as it is now."""

    latent: int
    """Its number in the video."""
    offset: int
    """The ring's column at that frame's left edge."""
    pan: int
    """The camera's motion in it."""
    standing: Standing = ()


@dataclass(frozen=True)
class Known:
    """All that is known where a segment begins."""

    facts: Facts
    newest: Moment
    """The video's newest latent."""
    views: Mapping[int, View]
    """By column."""

    def encode(self) -> str:
        """As a plan's `facts`."""
        take = self.facts.take
        said = {
            "nouns": self.facts.nouns,
            "sky": self.facts.sky,
            "offset": take.state.offset,
            "places": take.state.places,
            "headings": take.headings,
            "last_pan": self.facts.last_pan,
            "pan": self.newest.pan,
            "views": [
                (column, view.latent, view.offset, view.pan, *([view.standing] if view.standing else []))
                for column, view in sorted(self.views.items())
            ],
        }
        return json.dumps(said, separators=(",", ":"))


@dataclass(frozen=True)
class Segment:
    """A segment, ready to be filmed."""

    grid: Grid
    target: tuple[Moment, ...]
    """Its moments; where a first frame is given, those after it."""
    words: Words
    newest: Moment | None
    """That of the latent before; None for a first segment of which nothing is given."""
    columns: tuple[tuple[int, View | None], ...]
    """Those of the ring that come into the frame, and the view of each, if there is one."""
    references: tuple[int | None, ...]
    """Of each subject, the picture that shows it."""
    plan: HistoryPlan


def decode(text: str) -> Known:
    """What `Known.encode` wrote."""
    said = json.loads(text)
    places = [(int(column), int(row)) for column, row in said["places"]]
    take = Take(State(said["offset"], tuple(places)), tuple((dx, dy) for dx, dy in said["headings"]))
    nouns: list[Noun] = [(colour, shape) for colour, shape in said["nouns"]]
    facts = Facts(tuple(nouns), said["sky"], take, said["last_pan"])
    views = {
        column: View(latent, offset, pan, tuple((subject, row) for subject, row in standing[0]) if standing else ())
        for column, latent, offset, pan, *standing in said["views"]
    }
    return Known(facts, Moment(take.state, take.state, said["pan"]), views)


def of_frame(facts: Facts) -> Known:
    """What is known after a frame that was given."""
    return Known(facts, still(facts.take.state), {})


def segment(caption: str, before: Before) -> Segment:
    """Act a caption out, where it begins. Raises `ValueError` for one that this model did not write."""
    grid = grid_of((before.canvas.height, before.canvas.width))
    told = read(caption, grid)
    is_root = not before.latents
    known = decode(before.facts) if before.facts else None
    take = known.facts.take if known else Take.at(0, told.places)
    moments, after = perform(take, told.actions, told.camera, grid)
    views = {} if known is None else _views_before(known, before, grid)
    begins = known is None
    target = (still(take.state), *moments) if begins else moments
    columns = _columns(views, None if begins else take.state, target, grid, scene=_scene(before) if begins else None)
    last_pan = told.camera if told.camera != "holds" else known.facts.last_pan if known else None
    kept = _seen(views, target, max(before.latents, 0 if begins else 1), grid)
    facts = Facts(told.nouns, told.sky, after, last_pan)
    references = tuple(_picture(noun) for noun in told.nouns) + (None,) * (SUBJECTS_MAX - len(told.nouns))
    return Segment(
        grid,
        target,
        words.write(told.nouns, target, FIRST_SKY + SKY_NAMES.index(told.sky), grid),
        None if known is None else known.newest,
        columns,
        references,
        HistoryPlan(
            _sources(before, columns, references, grid, goes_on=known is not None, is_root=is_root),
            tuple(sorted({view.latent for view in kept.values()})),
            Known(facts, target[-1], kept).encode(),
        ),
    )


def _views_before(known: Known, before: Before, grid: Grid) -> Mapping[int, View]:
    """Those that are known; of a frame that was given, the newest latent's."""
    if known.views:
        return known.views
    return _seen({}, (known.newest,), max(before.latents - 1, 0), grid)


def _seen(views: Mapping[int, View], moments: Sequence[Moment], first: int, grid: Grid) -> dict[int, View]:
    """The views after these moments, latents of the video from number `first` on: one is replaced when something else
    stands in its column."""
    kept = dict(views)
    for number, moment in enumerate(moments, first):
        state = moment.after
        for column in state.view(grid.cols):
            standing = tuple((i, row) for i, (col, row) in enumerate(state.places) if col == column)
            if column not in kept or kept[column].standing != standing:
                kept[column] = View(number, state.offset, moment.pan, standing)
    return kept


def _columns(
    views: Mapping[int, View], newest: State | None, target: Sequence[Moment], grid: Grid, *, scene: int | None
) -> tuple[tuple[int, View | None], ...]:
    """The columns that come into the frame. A scene's picture shows those of the frame that a video begins with."""
    wanted = needed(newest, target, grid.cols)
    if scene is None:
        return tuple((column, views.get(column)) for column in wanted) if views else ()
    return tuple((column, View(SCENE, 0, 0) if column < grid.cols else None) for column in wanted)


def _scene(before: Before) -> int | None:
    return next((i for i, reference in enumerate(before.references) if reference.role == "scene"), None)


def _picture(noun: Noun) -> int | None:
    """The number of the reference that a subject is called by."""
    return int(noun[0][4:-1]) - 1 if noun[0].startswith("<ref") else None


def _sources(
    before: Before,
    columns: Sequence[tuple[int, View | None]],
    references: Sequence[int | None],
    grid: Grid,
    *,
    goes_on: bool,
    is_root: bool,
) -> tuple[Source, ...]:
    by_latent: dict[int, list[int]] = {}
    for column, view in columns:
        if view is not None:
            by_latent.setdefault(view.latent, []).append(column)
    scene = by_latent.pop(SCENE, [])
    found = [Source("reference", (number,), 1, "a subject") for number in references if number is not None]
    if scene:
        number = _scene(before)
        assert number is not None
        found.append(Source("reference", (number,), grid.rows * len(scene), "the scene"))
    for latent, shown in by_latent.items():
        found.append(Source("memory", (latent,), grid.rows * len(shown), _in_words(shown)))
    if goes_on:
        shows = "the given first frame" if is_root else ""
        found.append(Source("newest", (max(before.latents - 1, 0),), grid.rows * grid.cols, shows))
    return tuple(found)


def _in_words(columns: Sequence[int]) -> str:
    """Columns of the ring, counted from 1."""
    ordered = [column + 1 for column in columns]
    if len(ordered) == 1:
        return f"column {ordered[0]} of {RING}"
    return f"columns {', '.join(map(str, ordered))} of {RING}"
