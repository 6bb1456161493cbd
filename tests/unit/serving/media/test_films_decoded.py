"""Videos as cameras and programs write them. What is hostile stands in test_sandbox.py."""

from __future__ import annotations

import io
import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from engines.families.base import Frames
from serving.media import films
from serving.media.pictures import RefusedError, cropped


def added(container: av.container.OutputContainer, size: tuple[int, int]) -> av.VideoStream:
    stream = container.add_stream("libx264", rate=10)
    assert isinstance(stream, av.VideoStream)
    stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
    return stream


def video(path: Path, *, seconds: int = 2) -> Path:
    """160x90 at 10 frames a second, from black to light."""
    with av.open(str(path), "w") as container:
        stream = added(container, (160, 90))
        for number in range(seconds * 10):
            frame = np.full((90, 160, 3), number * 5, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return path


def first_frame(path: Path, width: int, height: int) -> Frames:
    with path.open("rb") as file:
        (only,) = films.frames(file, width, height, 16, 1)
    return np.frombuffer(only, np.uint8).reshape(height, width, 3)


def _shown_wide(path: Path, size: tuple[int, int], pixel: Fraction) -> Path:
    """A film whose pixels are no squares: the middle third of its width is white."""
    with av.open(str(path), "w") as container:
        stream = added(container, size)
        stream.codec_context.sample_aspect_ratio = pixel
        frame = np.zeros((size[1], size[0], 3), np.uint8)
        frame[:, size[0] // 3 : size[0] * 2 // 3] = 255
        for _ in range(20):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return path


@pytest.mark.parametrize(
    ("size", "pixel", "shown"),
    [
        ((144, 144), Fraction(16, 9), (256, 144)),
        ((192, 144), Fraction(4, 3), (256, 144)),
        ((288, 96), Fraction(1, 3), (96, 96)),
    ],
)
def test_a_film_has_the_shape_that_a_screen_shows(
    tmp_path: Path, size: tuple[int, int], pixel: Fraction, shown: tuple[int, int]
) -> None:
    path = _shown_wide(tmp_path / "a.mp4", size, pixel)
    with path.open("rb") as file:
        facts = films.facts(file)
    assert (facts["width"], facts["height"]) == shown
    width = 48
    only = first_frame(path, width, width * shown[1] // shown[0])
    light = only.mean(axis=(0, 2)) > 128
    assert light.sum() == pytest.approx(width / 3, abs=1)  # nothing of its width is cut, and nothing squeezed


def test_pixels_that_no_screen_has_are_refused(tmp_path: Path) -> None:
    with (
        _shown_wide(tmp_path / "a.mp4", (96, 96), Fraction(17, 1)).open("rb") as file,
        pytest.raises(RefusedError, match="its pixels are 17:1"),
    ):
        films.facts(file)


def _cover() -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (64, 64), (0, 255, 0)).save(out, "JPEG")
    return out.getvalue()


def _box(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", 8 + len(body)) + kind + body


def _with_cover(data: bytes) -> bytes:
    """An MP4 with a picture in its `covr` atom, which libav shows as another video track."""
    at = data.index(b"moov") - 4
    cover = _box(b"covr", _box(b"data", struct.pack(">II", 13, 0) + _cover()))
    meta = bytes(4) + _box(b"hdlr", bytes(8) + b"mdirappl" + bytes(9)) + _box(b"ilst", cover)
    (size,) = struct.unpack(">I", data[at : at + 4])
    assert at + size == len(data)
    moov = data[at + 8 : at + size]
    udta = moov.find(b"udta") - 4
    return data[:at] + _box(b"moov", (moov[:udta] if udta > 0 else moov) + _box(b"udta", _box(b"meta", meta)))


def test_a_cover_is_no_track_of_the_film(tmp_path: Path) -> None:
    path = video(tmp_path / "a.mp4")
    path.write_bytes(_with_cover(path.read_bytes()))
    with av.open(str(path)) as container:
        assert len(container.streams.video) == 2
    with path.open("rb") as file:
        assert films.facts(file)["width"] == 160
    assert first_frame(path, 32, 18).max() < 40  # the film's first frame, and not the cover


def test_two_films_in_one_file_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "two.mp4"
    with av.open(str(path), "w") as container:
        streams = [added(container, (32, 32)), added(container, (48, 48))]
        for stream in streams:
            for _ in range(20):
                container.mux(stream.encode(av.VideoFrame(stream.width, stream.height, "yuv420p")))
            container.mux(stream.encode())
    with path.open("rb") as file, pytest.raises(RefusedError, match="exactly one video track"):
        films.facts(file)


def test_only_what_is_shown_is_scaled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of slow motion most frames are shown at none of the times that are asked for."""
    scaled: list[int] = []

    def count(image: Image.Image, width: int, height: int, *, pixel: float) -> bytes:
        scaled.append(int(np.asarray(image).mean()))
        return cropped(image, width, height, pixel=pixel)

    monkeypatch.setattr("serving.media.shown.cropped", count)
    with video(tmp_path / "slow.mp4", seconds=4).open("rb") as file:  # 40 frames, each lighter than the last
        shown = list(films.frames(file, 16, 9, fps=1, count=6))
    assert len(shown) == 6
    assert len(scaled) == 5
    assert scaled == sorted(scaled)
    assert shown[3] != shown[4] == shown[5]


def test_more_than_can_be_decoded_in_time_is_known_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(films, "MAX_PIXELS", 20 * 160 * 90)
    with video(tmp_path / "a.mp4").open("rb") as file:
        assert films.facts(file)["width"] == 160
    monkeypatch.setattr(films, "MAX_PIXELS", 20 * 160 * 90 - 1)
    with (
        video(tmp_path / "a.mp4").open("rb") as file,
        pytest.raises(RefusedError, match=r"20 frames of 160x90.*fewer frames a second"),
    ):
        films.facts(file)
