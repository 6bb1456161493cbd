"""Segments that are encoded apart join into one file that plays, and that grows without being rewritten."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from serving.media.encode import SegmentEncoder
from serving.media.part import MediaPart
from serving.media.still import stills_of
from serving.media.track import Track
from serving.media.virtual import Mark, VirtualFile, read_signed_box, signed_box, virtual_file

BACKGROUND, SPRITE = (24, 20, 105), (40, 215, 235)
KEY = b"k" * 32


def scene(start: int, frames: int) -> NDArray[np.uint8]:
    """A square that moves 4 px a frame."""
    out = np.full((frames, 64, 112, 3), BACKGROUND, np.uint8)
    for i in range(frames):
        x = 4 * (start + i) % 80
        out[i, 16:48, x : x + 32] = SPRITE
    return out


@dataclass
class Film:
    """A video made of segments, as a store would hold it."""

    track: Track
    init: bytes = b""
    parts: list[MediaPart] = field(default_factory=list)
    blobs: dict[str, bytes] = field(default_factory=dict)
    frames: int = 0

    def grow(self, groups: Sequence[int]) -> None:
        sequence = sum(len(part.fragment_sizes) for part in self.parts)
        encoder = SegmentEncoder(self.track, start_frame=self.frames, sequence_start=sequence)
        fragments = []
        for count in groups:
            fragments += encoder.push(scene(self.frames, count))
            self.frames += count
        fragments += encoder.finish()
        data = b"".join(f.data for f in fragments)
        digest = sha256(data).hexdigest()
        self.blobs[digest] = data
        self.parts.append(
            MediaPart(
                blob=digest,
                size=len(data),
                fragment_sizes=tuple(len(f.data) for f in fragments),
                fragment_frames=tuple(f.frames for f in fragments),
            )
        )
        assert self.init in (b"", encoder.init)
        self.init = encoder.init

    def file(self) -> VirtualFile:
        return virtual_file(self.track, self.init, self.parts, box=signed_box("vid_a", "f" * 64, KEY))

    def read(self) -> bytes:
        file = self.file()
        pieces = file.pieces(0, file.size)
        return file.header + b"".join(self.blobs[s.blob][s.offset : s.offset + s.length] for s in pieces)


@pytest.fixture(params=["av1", "h264"])
def film(request: pytest.FixtureRequest) -> Film:
    film = Film(Track(codec=request.param, width=448, height=256, fps=16))
    film.grow([1, 4, 4, 4, 4])
    return film


def test_a_root_and_three_extensions_play_as_one_video(film: Film) -> None:
    for _ in range(3):
        film.grow([4, 4, 4, 4])
    data = film.read()
    assert len(data) == film.file().size
    with av.open(io.BytesIO(data), "r") as container:
        stream = container.streams.video[0]
        frames = list(container.decode(stream))
        times = [float(f.pts * f.time_base) for f in frames if f.pts is not None and f.time_base]
        duration = container.duration
    assert times == [i / 16 for i in range(65)]
    assert duration == pytest.approx(65 / 16 * 1e6, abs=1e5)
    for number in (0, 20, 64):
        picture = frames[number].to_ndarray(format="rgb24")
        x = 4 * number % 80
        assert np.abs(picture[16 * 4 + 60, (x + 16) * 4].astype(int) - SPRITE).max() < 30
        assert np.abs(picture[4, 4].astype(int) - BACKGROUND).max() < 30


def test_some_frames_are_found_by_their_numbers(film: Film, tmp_path: Path) -> None:
    for _ in range(9):
        film.grow([4, 4, 4, 4])
    (tmp_path / "film.mp4").write_bytes(film.read())
    wanted = (160, 0, 1, 17, 33, 100, 101, 160, 500)
    found = dict(stills_of(tmp_path / "film.mp4", wanted, fps=16, longest_side=112))
    assert list(found) == [0, 1, 17, 33, 100, 101, 160]
    for number, data in found.items():
        picture = np.asarray(Image.open(io.BytesIO(data), formats=("WEBP",)).convert("RGB"))
        assert picture.shape == (64, 112, 3)
        assert np.abs(picture.astype(int) - scene(number, 1)[0]).mean() < 6, number
        assert np.abs(picture.astype(int) - scene(number + 3, 1)[0]).mean() > 10, number


def test_the_media_bytes_of_a_video_begin_its_extension(film: Film) -> None:
    before = film.read()[len(film.file().header) :]
    film.grow([4, 4, 4, 4])
    after = film.read()[len(film.file().header) :]
    assert after.startswith(before)
    assert len(after) > len(before)


def test_a_player_can_seek_to_a_segment(film: Film) -> None:
    film.grow([4, 4, 4, 4])
    with av.open(io.BytesIO(film.read()), "r") as container:
        container.seek(int(1.5 * av.time_base))
        first = next(container.decode(video=0))
    assert first.pts is not None
    assert first.pts >= 17 * 1000


def test_equal_frames_give_equal_bytes(film: Film) -> None:
    again = Film(film.track)
    again.grow([1, 4, 4, 4, 4])
    assert again.read() == film.read()


def test_a_copy_is_recognised_by_its_mark_and_a_forged_one_is_not(film: Film) -> None:
    data = film.read()
    assert read_signed_box(data, KEY) == Mark("vid_a", "f" * 64)
    assert read_signed_box(data, b"x" * 32) is None
    assert read_signed_box(data.replace(b"vid_a", b"vid_b"), KEY) is None
    assert read_signed_box(b"no mp4 at all", KEY) is None


def test_frames_of_another_shape_are_refused(film: Film) -> None:
    encoder = SegmentEncoder(film.track, start_frame=0, sequence_start=0)
    with pytest.raises(ValueError, match="do not enlarge"):
        encoder.push(np.zeros((1, 60, 112, 3), np.uint8))


@pytest.mark.skipif(sys.platform != "linux", reason="scheduling classes are Linux's")
def test_encoding_makes_no_thread_real_time(film: Film) -> None:
    """As root SVT-AV1 asks for that, and everything that is started afterwards would inherit it."""
    film.grow([4])
    assert _scheduling_classes() == {os.SCHED_OTHER}
    child = subprocess.run(
        [sys.executable, "-c", "import os; print(os.sched_getscheduler(0))"], capture_output=True, check=True
    )
    assert child.stdout.strip() == b"0"
    encoder = SegmentEncoder(film.track, start_frame=0, sequence_start=0)
    encoder.push(scene(0, 1))
    assert _scheduling_classes() == {os.SCHED_OTHER}
    encoder.finish()


def _scheduling_classes() -> set[int]:
    return {os.sched_getscheduler(int(thread.name)) for thread in Path("/proc/self/task").iterdir()}
