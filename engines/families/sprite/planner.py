"""Makes of a prompt's seconds what is filmed: who is meant, what they do, and where that leads.

What the prompt leaves open is drawn from the seed (a net that must choose for itself chooses twice), what "goes on" is
written out, and what cannot be is left out with a warning that says so. `Facts` are all that the next second needs to
know of the one before: a segment's record carries them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, cast

from engines.families.sprite import words
from engines.families.sprite.casting import Draw, Noun, called, cast_of, is_elsewhere, meant_by, name_of, places_of
from engines.families.sprite.directing import (
    CAMERAS,
    SEGMENT_LATENTS,
    STEPS,
    Action,
    Camera,
    RefusedError,
    Take,
    perform,
    written_out,
)
from engines.families.sprite.reading import Sighting
from engines.families.sprite.script import NO_PANS, Mention, Second, deed
from engines.families.sprite.sentences import sentence
from engines.families.sprite.stage import Moment, still
from engines.families.sprite.world import FIRST_SKY, SKY_NAMES, Grid

_WAYS: Final[tuple[Action, ...]] = ("left", "right", "up", "down")
_PANS: Final[tuple[Camera, ...]] = ("pans left", "pans right")
_TRIES: Final = 32
"""Of what is drawn for a first second."""
_OPPOSITE: Final[dict[str, Action]] = {"left": "right", "right": "left", "up": "down", "down": "up"}


@dataclass(frozen=True)
class Facts:
    """What stands fixed at the end of a second."""

    nouns: tuple[Noun, ...]
    """What each subject is called: see `words.noun`."""
    sky: str
    take: Take
    last_pan: Camera | None = None
    """The camera's last motion, for the way back."""


@dataclass(frozen=True)
class Planned:
    """One second, ready to be filmed."""

    target: tuple[Moment, ...]
    words: words.Words
    facts: Facts
    effective_prompt: str
    """What was understood and what was written out for it."""
    warnings: tuple[str, ...]


def begin(
    second: Second, *, seed: int, grid: Grid, references: Sequence[int] = (), scene_sky: str | None = None
) -> Planned:
    """A video's first second, of a prompt and these references to subjects, under the sky of a scene's picture, if one
    is given."""
    draw = Draw(seed)
    cast_, warnings = cast_of(second.mentions, draw, references)
    warnings += dict.fromkeys(second.not_followed)
    sky = scene_sky or second.sky or draw("sky", SKY_NAMES)
    warnings += second.skies_not_followed(sky, f"the scene's is {sky}" if scene_sky else f"kept: {sky}")
    tried: list[Planned] = []
    for attempt in range(_TRIES):
        # What nobody asked for is drawn again until nothing that was asked for is in its way.
        tried.append(_begun(second, cast_, sky, warnings, Draw(seed, attempt), grid))
        if len(tried[-1].warnings) == len(warnings):
            return tried[-1]
    return min(tried, key=lambda planned: len(planned.warnings))


def _begun(
    second: Second, cast_: Sequence[tuple[Noun, Mention]], sky: str, warnings: Sequence[str], draw: Draw, grid: Grid
) -> Planned:
    """With what is open as it is drawn this time."""
    places, taken = places_of(cast_, draw, grid)
    facts = Facts(tuple(noun for noun, _ in cast_), sky, Take.at(0, places))
    wanted = [mention.action for _, mention in cast_]
    camera = _camera(second, wanted, facts, Draw(draw.seed), grid)
    warnings = [*warnings, *taken, *_cameras_not_followed(second, camera)]
    for number, action in enumerate(wanted):
        if action is None:
            wanted[number] = draw(f"action {number}", _WAYS) if camera == "holds" else "stays"
    planned = _film(facts, wanted, camera, grid, warnings, follows=second.camera is None, is_root=True)
    return _told_of_walls(planned, [mention.action for _, mention in cast_])


def facts_of(seen: Sighting) -> Facts:
    """What a given first frame fixes: an extension of it is planned as any other."""
    nouns = tuple(words.noun(art, None) for art, _ in seen.subjects)
    return Facts(nouns, SKY_NAMES[seen.sky - FIRST_SKY], Take.at(0, [place for _, place in seen.subjects]))


def extend(facts: Facts, second: Second, *, seed: int, grid: Grid) -> Planned:
    """The next second of a video. What the prompt does not mention is kept."""
    draw = Draw(seed)
    warnings = list(dict.fromkeys(second.not_followed))
    wanted: list[str | None] = [None] * len(facts.nouns)
    last: int | None = None
    for mention in second.mentions:
        meant = meant_by(mention, facts.nouns, facts.take.state, grid, last)
        if not meant:
            warnings.append(f"not followed: this video has no {called(mention)}")
        if is_elsewhere(mention, meant, facts.take.state, grid):
            warnings.append(f"not followed: {mention.who} {mention.where}: only a video's first second has places")
        for number in meant:
            wanted[number] = mention.action or wanted[number]
        last = meant[0] if len(meant) == 1 else last
    warnings += second.skies_not_followed(facts.sky, f"kept: {facts.sky}")
    camera = _camera(second, wanted, facts, draw, grid)
    warnings += _cameras_not_followed(second, camera)
    planned = _film(facts, wanted, camera, grid, warnings, follows=second.camera is None, is_root=False)
    return _told_of_walls(planned, wanted)


def _action(wanted: str | None, facts: Facts, subject: int) -> Action | None:
    if wanted != "turns":
        return cast("Action | None", wanted)
    heading = facts.take.headings[subject]
    return next((_OPPOSITE[name] for name, step in STEPS.items() if step == heading), "left")


def _camera(second: Second, wanted: Sequence[str | None], facts: Facts, draw: Draw, grid: Grid) -> Camera:
    drawn = draw("camera", _PANS)
    if second.camera == "pans back":
        return "pans right" if facts.last_pan == "pans left" else "pans left"
    if second.camera == "pans":
        return facts.last_pan or drawn
    if second.camera is not None:
        return next(camera for camera in CAMERAS if camera == second.camera)
    # Whoever goes along asks for a pan; for one that is off-screen, and cannot, it would show nobody.
    along = any(
        action == "goes along" and facts.take.state.column_on_screen(number) < grid.cols
        for number, action in enumerate(wanted)
    )
    return (facts.last_pan or drawn) if along else "holds"


def _cameras_not_followed(second: Second, camera: Camera) -> list[str]:
    """Warnings of what else is said of the camera than what it does."""
    others = [said for said in dict.fromkeys(second.cameras) if said not in (second.camera, camera, "pans")]
    return [
        f"not followed: the camera {said}: {'it pans left and right only' if said in NO_PANS else f'it {camera}'}"
        for said in others
    ]


def _film(
    facts: Facts,
    wanted: Sequence[str | None],
    camera: Camera,
    grid: Grid,
    warnings: Sequence[str],
    *,
    follows: bool,
    is_root: bool,
) -> Planned:
    """Act the second out; what cannot be is left out, one subject after the other.

    `follows`: the camera was not directed, and pans with those alone who go along.
    """
    told = list(warnings)
    actions = [_action(action, facts, number) for number, action in enumerate(wanted)]
    for number in range(len(actions)):
        try:
            alone: list[Action | None] = [None] * len(actions)
            alone[number] = actions[number]
            written_out(facts.take, alone, camera, grid)
        except RefusedError as refused:
            told.append(_not_followed(facts.nouns[number], wanted[number], str(refused)))
            actions[number] = "stays"
    while True:
        written = written_out(facts.take, actions, camera, grid)
        try:
            moments, take = perform(facts.take, written, camera, grid)
            break
        except RefusedError as refused:
            number = next(i for i in reversed(range(len(written))) if written[i] != "stays")
            told.append(_not_followed(facts.nouns[number], wanted[number] or written[number], str(refused)))
            actions[number] = "stays"
            if follows and camera != "holds" and "goes along" not in actions:
                left = ["stays" if action == "goes along" else action for action in wanted]
                return _film(facts, left, "holds", grid, [*warnings, told[-1]], follows=False, is_root=is_root)
    target = (still(facts.take.state), *moments) if is_root else moments
    sky = FIRST_SKY + SKY_NAMES.index(facts.sky)
    after = replace(facts, take=take, last_pan=facts.last_pan if camera == "holds" else camera)
    text = sentence(facts.nouns, moments, facts.sky, camera, grid)
    return Planned(target, words.write(facts.nouns, target, sky, grid), after, text, tuple(told))


def _told_of_walls(planned: Planned, asked: Sequence[str | None]) -> Planned:
    """With a warning of each that was asked to move and goes the other way from the first, for it stands at a wall."""
    moment = planned.target[-SEGMENT_LATENTS]
    told = [
        _not_followed(noun, action, "it stands at the frame's wall there, and turns back at once")
        for number, (noun, action) in enumerate(zip(planned.facts.nouns, asked, strict=True))
        if action in STEPS and words.motion(moment, number) == _OPPOSITE[action]
    ]
    return replace(planned, warnings=(*planned.warnings, *told))


def _not_followed(noun: Noun, action: str | None, why: str) -> str:
    """`not followed: the red bar moves up: it is off-screen ...`."""
    return f"not followed: {name_of(noun)} {action and deed(action)}: {why}"
