"""What a segment was shown is found again in its video: of each latent the segment, the frames, and the words."""

from __future__ import annotations

from itertools import accumulate

import pytest

from serving.segments.manifest import SegmentManifest, ShownSource
from serving.segments.path import Placed
from serving.segments.shown import ShownLatent, shown_to
from tests.unit.serving.segments.test_lineage import manifest


def path_of(*frames: int) -> list[Placed]:
    starts = accumulate(frames, initial=0)
    return [
        Placed(str(depth), depth, start, count)
        for depth, (start, count) in enumerate(zip(starts, frames, strict=False))
    ]


def made(path: list[Placed], latents: int, *history: ShownSource, pictures: tuple[str, ...] = ()) -> SegmentManifest:
    """The manifest of the path's last segment, of so many latents."""
    made = manifest()
    last = path[-1]
    return made.model_copy(
        update={
            "depth": last.depth, "frames": last.frames, "start_frame": last.start_frame, "history": history,
            "latents": made.latents.model_copy(update={"count": latents}), "effective_references": pictures,
        }
    )  # fmt: skip


@pytest.mark.parametrize(
    ("frames", "latents", "number", "want"),
    [
        ((17, 16, 16), 4, 0, (0, 0, 1)),
        ((17, 16, 16), 4, 4, (0, 13, 4)),
        ((17, 16, 16), 4, 5, (1, 17, 4)),
        ((17, 16, 16), 4, 8, (1, 29, 4)),
        ((17,), 5, 0, (0, 0, 1)),
        ((81, 80), 20, 21, (1, 81, 4)),
        ((81, 80), 20, 20, (0, 77, 4)),
        ((33, 16), 4, 8, (0, 29, 4)),
        ((16, 16), 4, 0, (0, 0, 4)),
        ((16, 16), 4, 3, (0, 12, 4)),
        ((24, 24, 24), 3, 4, (1, 32, 8)),
    ],
)
def test_a_latent_is_of_a_segment_and_stands_for_frames(
    frames: tuple[int, ...], latents: int, number: int, want: tuple[int, int, int]
) -> None:
    path = path_of(*frames)
    source = ShownSource(kind="memory", numbers=(number,), tokens=3, shows="a hill")
    (shown,) = shown_to(made(path, latents, source), path)
    assert (shown.kind, shown.tokens, shown.shows, shown.reference) == ("memory", 3, "a hill", None)
    segment, start_frame, count = want
    assert shown.latents == (ShownLatent(number, path[segment], start_frame, count),)


def test_of_a_picture_it_is_told_what_was_read_from_it() -> None:
    path = path_of(17)
    sources = [ShownSource(kind="reference", numbers=(number,), tokens=1, shows=shows) for number, shows in
               ((1, "a subject"), (0, ""), (2, "a subject"))]  # fmt: skip
    shown = shown_to(made(path, 5, *sources, pictures=("a cat", "a dog")), path)
    assert [(source.reference, source.shows, source.latents) for source in shown] == [
        (1, "a subject: a dog", ()), (0, "a cat", ()), (2, "a subject", ()),
    ]  # fmt: skip


def test_what_an_earlier_version_made_tells_nothing() -> None:
    path = path_of(17, 16)
    assert shown_to(made(path, 4), path) == ()
