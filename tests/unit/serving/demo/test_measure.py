"""What the demo measures of a film: perfect frames are right, and each thing that is not as it should be is counted."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from engines.families.base import Frames
from engines.families.history import Before
from engines.families.sprite import history, prompts
from engines.families.sprite.capabilities import CAPABILITIES
from engines.families.sprite.stage import Scene
from engines.families.sprite.world import FIRST_SKY, FRAMES_PER_LATENT, PALETTE, Grid, Named, random_scenery
from serving.demo.measure import Reading, measured, read_frames
from serving.demo.page import page
from serving.demo.story import Piece
from serving.gen.longtake.v1.videos_pb2 import Segment, Video

WIDE = CAPABILITIES.canvases[0]
GRID = Grid(5, 9)
NAVY = FIRST_SKY + 2
RED, WHITE, BLACK = (PALETTE[label] for label in (0, FIRST_SKY + 1, FIRST_SKY + 3))
AWAY_AND_BACK = (
    "a red bar at the top left moves right and a cyan corner at the bottom right stays under a navy sky. "
    "the camera pans right. the camera pans back"
)


@dataclass
class Film:
    """A prompt as it would ideally be filmed."""

    prompt: str
    frames: Frames = field(init=False)
    segments: list[Segment] = field(default_factory=list)

    def __post_init__(self) -> None:
        scene = Scene(NAVY, random_scenery(np.random.default_rng(3)), (Named(0, 2), Named(5, 3)))
        before, shown = Before(WIDE), np.zeros((0, WIDE.height, WIDE.width, 3), np.uint8)
        read = prompts.read(self.prompt, seed=1, before=before, segments=self.prompt.count(". ") + 1)
        for index, caption in enumerate(read.effective_prompts):
            acted = history.segment(caption, before)
            added = np.concatenate([scene.frames(moment, GRID) for moment in acted.target])
            added = added[0 if len(shown) else FRAMES_PER_LATENT - 1 :]
            self.segments.append(
                Segment(
                    index=index,
                    start_frame=len(shown),
                    frames=len(added),
                    effective_prompt=caption,
                    video_id="vid",
                )
            )
            shown = np.concatenate([shown, added])
            before = Before(WIDE, CAPABILITIES.latents_of(len(shown)), acted.plan.facts)
        self.frames = shown

    def read(self, *, first_given: bool = False) -> Reading:
        return read_frames(self.frames, self.video, self.segments, first_given=first_given)

    @property
    def video(self) -> Video:
        return Video(id="vid", aspect_ratio="16:9", prompt=self.prompt, fps=16, width=144, height=80)


@pytest.fixture
def film() -> Film:
    return Film(AWAY_AND_BACK)


def test_a_film_as_it_should_be_is_right_in_every_look(film: Film) -> None:
    found = film.read()
    assert [(one.right, one.looks) for one in found.seconds] == [(5, 5), (4, 4), (4, 4)]
    assert [(one.same, one.again) for one in found.seconds] == [(0, 0), (0, 0), (16, 16)]
    assert found.shows == "a red bar at column 5, row 1 and a cyan corner at column 9, row 4 under a navy sky"
    assert measured(found) == (
        "13 of 13 looks, four a second, show what was directed; 16 of 16 blocks of scenery seen before are as they were"
    )


def test_a_block_that_comes_back_as_another_is_counted(film: Film) -> None:
    film.frames[-1, -16:-8, :8] = WHITE
    found = film.read().seconds[-1]
    assert (found.same, found.again) == (15, 16)
    assert found.right == 4


def test_a_subject_elsewhere_or_of_another_look_is_not_as_directed(film: Film) -> None:
    film.frames[-1, :16, 64:80] = PALETTE[NAVY]
    assert film.read().seconds[-1].right == 3
    film.frames[-1, :8, 64:80] = RED
    assert film.read().seconds[-1].right == 4
    film.frames[8, 16:64] = BLACK
    assert film.read().seconds[0].right == 4


def test_what_is_remembered_is_cut_out_where_it_was_seen(film: Film) -> None:
    found = film.read()
    assert [one.remembered is None for one in found.seconds] == [True, True, False]
    assert found.world is not None


def test_a_given_first_frame_is_where_the_film_begins() -> None:
    whole = Film("a red bar at the top left moves right and a cyan corner at the bottom right stays under a navy sky")
    found = whole.read(first_given=True)
    assert [(one.right, one.looks) for one in found.seconds] == [(4, 4)]


def test_a_scene_is_seen_before_the_film_begins(film: Film) -> None:
    video, scene = film.video, film.frames[0]
    assert [one.again for one in read_frames(film.frames, video, film.segments, scene=scene).seconds] == [36, 0, 16]
    other = np.roll(scene, 8, axis=1)
    assert read_frames(film.frames, video, film.segments, scene=other).seconds[0].same < 20


def test_the_page_tells_each_second_and_trusts_no_text(film: Film, tmp_path: Path) -> None:
    video = film.video
    video.prompt = "<script>alert(1)</script> " + film.prompt
    shown = page([Piece("1 <b>", video, [tmp_path / "1.mp4"], [], film.segments, film.read())])
    assert shown.count("<tr ") == 3
    assert "<script>alert" not in shown
    assert "1 &lt;b&gt;" in shown
    assert "16 of 16" in shown
