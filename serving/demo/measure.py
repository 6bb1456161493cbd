"""Reads the demo's results back from their pixels: what each second shows, and whether the world stayed as it was.

From the MP4 as a user has it, through the codec. What it should show is acted out from the captions of its segments.
`story.py` asks, `page.py` and `serving/cli/demo.py` show it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from engines.families.base import Frames
from engines.families.capabilities import Canvas
from engines.families.history import Before
from engines.families.sprite import history, planner, reading
from engines.families.sprite.capabilities import CAPABILITIES
from engines.families.sprite.references import in_words
from engines.families.sprite.stage import Moment, State, still
from engines.families.sprite.world import FIRST_SKY, FRAMES_PER_LATENT, I64, SKY_NAMES
from serving.demo.views import remembered, world
from serving.gen.longtake.v1.videos_pb2 import Segment, Video
from serving.media.still import each_frame, native


@dataclass(frozen=True)
class Second:
    """What one segment shows. It is looked at four times: at the end of each of its latents."""

    shows: str
    """At its end."""
    right: int
    """How often it shows each subject that is directed where it should be, as it should look, and nothing else."""
    looks: int
    again: int
    """Blocks of scenery that came into the frame and had been seen before, if only in the scene's picture."""
    same: int
    """Of those, the ones that look as they did when they were seen first."""
    remembered: bytes | None
    """What it was shown again of the video, PNG."""


@dataclass(frozen=True)
class Reading:
    """What a video, or an image, shows."""

    frames: Frames
    """uint8 [T, h, w, 3], of the model's own size."""
    seconds: Sequence[Second] = ()
    shows: str = ""
    """At its end."""
    world: bytes | None = None
    """The ring of scenery as far as it was seen, PNG."""


@dataclass
class _Seen:
    """What was seen of the world."""

    scenery: dict[int, I64] = field(default_factory=dict)
    """Labels [2, 2] of each column as it was first."""
    view: tuple[int, ...] = ()
    """The columns that the frame showed last."""


def read_image(path: Path, video: Video) -> Reading:
    """An image that the model made."""
    canvas = _canvas(video)
    with Image.open(path) as image:
        frame = native(np.asarray(image.convert("RGB")), image.height // canvas.height)
    return Reading(frame[None], shows=_in_words(reading.look(frame)))


def read_film(
    path: Path, video: Video, segments: Sequence[Segment], *, first_given: bool = False, scene: Frames | None = None
) -> Reading:
    """A video of these segments, root first. `scene`: the picture that was given for it, uint8 [h, w, 3]."""
    scale = video.height // _canvas(video).height
    frames = np.stack([native(frame, scale) for frame in each_frame(path)])
    return read_frames(frames, video, segments, first_given=first_given, scene=scene)


def read_frames(
    frames: Frames, video: Video, segments: Sequence[Segment], *, first_given: bool = False, scene: Frames | None = None
) -> Reading:
    """The same of its frames, uint8 [T, h, w, 3] of the model's own size."""
    canvas = _canvas(video)
    before, seen, seconds = Before(canvas), _Seen(), []
    if first_given:
        given = history.of_frame(planner.facts_of(reading.look(frames[0])))
        before = Before(canvas, facts=given.encode(), first=True)
        _look_at_scenery(given.newest, frames[0], seen)
    if scene is not None:
        _look_at_scenery(still(State(0, ())), scene, seen)
        seen.view = ()
    for segment in segments:
        acted = history.segment(segment.effective_prompt, before)
        end = segment.start_frame + segment.frames
        last = frames[end - 1 - FRAMES_PER_LATENT * (len(acted.target) - 1) : end : FRAMES_PER_LATENT]
        seconds.append(_second(acted, last, seen, video.effective_references, remembered(acted, frames)))
        before = Before(canvas, CAPABILITIES.latents_of(end), acted.plan.facts)
    return Reading(frames, seconds, seconds[-1].shows, world(history.decode(before.facts), frames))


def measured(found: Reading) -> str:
    """What was measured of a whole video, in a sentence; of an image what it shows."""
    if not found.seconds:
        return found.shows
    right, looks = sum(one.right for one in found.seconds), sum(one.looks for one in found.seconds)
    same, again = sum(one.same for one in found.seconds), sum(one.again for one in found.seconds)
    back = f"; {same} of {again} blocks of scenery seen before are as they were" if again else ""
    return f"{right} of {looks} looks, four a second, show what was directed{back}"


def _second(
    acted: history.Segment, frames: Frames, seen: _Seen, references: Sequence[str], shown: bytes | None
) -> Second:
    """Look at the end of each of its moments, uint8 [moments, h, w, 3]."""
    facts = history.decode(acted.plan.facts).facts
    names = [_name(noun, references) for noun in facts.nouns]
    right = again = same = 0
    for moment, frame in zip(acted.target, frames, strict=True):
        sight = reading.look(frame)
        found = {place: in_words(art) for art, place in sight.subjects}
        right += found == _directed(moment, names, acted.grid.cols) and not sight.left_out and _sky(sight) == facts.sky
        more = _look_at_scenery(moment, frame, seen)
        again, same = again + more[0], same + more[1]
    return Second(_in_words(reading.look(frames[-1])), right, len(frames), again, same, shown)


def _directed(moment: Moment, names: Sequence[str], cols: int) -> dict[tuple[int, int], str]:
    """Who stands where on the screen at a moment's end."""
    state = moment.after
    columns = [state.column_on_screen(subject) for subject in range(len(names))]
    return {(c, state.places[i][1]): names[i] for i, c in enumerate(columns) if c < cols}


def _look_at_scenery(moment: Moment, frame: Frames, seen: _Seen) -> tuple[int, int]:
    """How many blocks have come into the frame again, and how many of them are the same."""
    again = same = 0
    labels = reading.look(frame).scenery
    view = moment.after.view(labels.shape[1] // 2)
    for place, column in enumerate(view):
        now = labels[:, 2 * place : 2 * place + 2]
        first = seen.scenery.setdefault(column, now)
        if column not in seen.view and first is not now:
            again += now.size
            same += int((now == first).sum())
    seen.view = view
    return again, same


def _name(noun: tuple[str, str], references: Sequence[str]) -> str:
    """What a subject is expected to look like, in words."""
    if noun[0].startswith("<ref"):
        return references[int(noun[0][4:-1]) - 1]
    return f"a {noun[0]} {noun[1]}"


def _in_words(sight: reading.Sighting) -> str:
    subjects = [f"{in_words(art)} at column {column + 1}, row {row + 1}" for art, (column, row) in sight.subjects]
    return f"{' and '.join(subjects) or 'nobody'} under a {_sky(sight)} sky"


def _sky(sight: reading.Sighting) -> str:
    return SKY_NAMES[sight.sky - FIRST_SKY]


def _canvas(video: Video) -> Canvas:
    canvas = CAPABILITIES.canvas(video.aspect_ratio)
    assert canvas is not None, "the demo's videos are of the model that ships"
    return canvas
