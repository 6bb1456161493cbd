"""Plans: which segments a request becomes, at which sizes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from engines.models import family
from serving.media.track import Track
from serving.plan import plan
from serving.requests import Codec, ForeignSource, Kind, OwnSource, VideoRequest
from serving.segments.shape import VideoShape

CAN = family("sprite").capabilities


def request(**changes: object) -> VideoRequest:
    fields: dict[str, object] = {
        "model": CAN.model, "seconds": 3, "aspect_ratio": "16:9", "resolution": "480p", "steps": 8,
    }  # fmt: skip
    return VideoRequest.model_validate(fields | changes)


def test_a_new_video_has_one_frame_more_than_its_seconds() -> None:
    made = plan(request(), CAN, model_digest="d", seed=1)
    assert [s.frames for s in made.segments] == [17, 16, 16]
    assert [s.latents for s in made.segments] == [5, 4, 4]
    assert [s.root for s in made.segments] == [True, False, False]
    assert made.frames == 3 * 16 + 1
    assert made.total_steps == 24
    assert (made.track.width, made.track.height) == (864, 480)


@pytest.mark.parametrize(
    ("root", "segment", "fps", "counts"),
    [
        (5, 4, 16, {seconds: seconds for seconds in range(1, 11)}),
        (2, 1, 4, {seconds: seconds for seconds in range(1, 5)}),
        (21, 20, 16, {5: 1, 10: 2, 15: 3}),
        (31, 30, 24, {5: 1}),
        (21, 16, 16, {5: 1, 9: 2, 13: 3}),
        (9, 4, 16, {2: 1, 3: 2, 4: 3}),
    ],
    ids=["sprite", "simulated", "five seconds", "a faster clock", "extensions of four seconds", "of one"],
)
def test_a_new_video_is_a_root_and_what_is_left_after_it(
    root: int, segment: int, fps: int, counts: dict[int, int]
) -> None:
    can = replace(CAN, root_latents=root, segment_latents=segment, fps=fps)
    for seconds, count in counts.items():
        made = plan(request(seconds=seconds), can, model_digest="d", seed=1)
        assert [one.root for one in made.segments] == [True, *[False] * (count - 1)]
        assert made.frames == seconds * fps + 1


def test_an_extension_adds_exactly_its_seconds_and_inherits_the_rest() -> None:
    parent = VideoShape(
        aspect_ratio="9:16", height=112, width=64, track=Track(codec=Codec.H264, width=704, height=1232, fps=16),
        total_frames=49, depth=2,
    )  # fmt: skip
    source = OwnSource(video="vid_a", segment="a" * 64)
    made = plan(request(seconds=2, extends=source), CAN, model_digest="d", seed=1, parent=parent)
    assert [(s.index, s.frames, s.root) for s in made.segments] == [(3, 16, False), (4, 16, False)]
    assert (made.start_frame, made.height, made.width) == (49, 112, 64)
    assert made.track == parent.track


def test_a_foreign_video_is_continued_behind_its_ingested_root() -> None:
    source = ForeignSource(blob="b" * 64, seconds=2.5, height=480, width=864)
    made = plan(request(seconds=1, ingests=source), CAN, model_digest="d", seed=1)
    assert [(s.index, s.frames, s.root) for s in made.segments] == [(1, 16, False)]


def test_an_image_takes_as_many_latents_as_the_model_needs_for_one() -> None:
    can = replace(CAN, image_latents=1)
    made = plan(request(kind=Kind.IMAGE, seconds=0, resolution="1k", images=2), can, model_digest="d", seed=1)
    assert [(segment.latents, segment.frames) for segment in made.segments] == [(1, 1)] * 2


def test_images_are_the_first_frames_of_roots() -> None:
    made = plan(request(kind=Kind.IMAGE, seconds=0, resolution="1k", images=3), CAN, model_digest="d", seed=1)
    assert [(s.index, s.frames, s.root) for s in made.segments] == [(0, 1, True), (1, 1, True), (2, 1, True)]


@pytest.mark.parametrize(("resolution", "want"), [("480p", 480), ("720p", 720), ("1080p", 1040)])
def test_resolutions_are_whole_enlargements(resolution: str, want: int) -> None:
    made = plan(request(resolution=resolution), CAN, model_digest="d", seed=1)
    assert made.track.height == want
    assert made.track.height % made.height == 0
    assert made.track.width * made.height == made.track.height * made.width


def test_equal_requests_have_equal_fingerprints_and_others_name_their_difference() -> None:
    assert request().fingerprint() == request().fingerprint()
    assert request().differences(request(seconds=4, seed=3)) == ("seconds", "seed")
