"""What a film's file says of how its frames are to be shown is followed."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import cast

import av
import numpy as np
import pytest
from av.video.reformatter import ColorRange, Colorspace, ColorTrc

from engines.families.base import Frames
from serving.media import films
from serving.media.pictures import RefusedError
from serving.media.shown import Turn, turn_of

CORNERS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255), "white": (255, 255, 255)}


def film(
    path: Path,
    pixels: Frames,
    *,
    form: str = "yuv420p",
    space: Colorspace = Colorspace.ITU601,
    tags: dict[str, int] | None = None,
) -> Path:
    """Two seconds of one picture. `tags`: what the file says of its colours, if anything."""
    height, width, _ = pixels.shape
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"preset": "ultrafast", "crf": "5"})
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = width, height, form
        for tag, value in (tags or {}).items():
            setattr(stream.codec_context, tag, value)
        for _ in range(20):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(
                format=form, dst_colorspace=space, src_color_range=ColorRange.JPEG, dst_color_range=ColorRange.MPEG
            )
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def quarters() -> Frames:
    """320x240: red and green above, blue and white below."""
    found = np.zeros((240, 320, 3), np.uint8)
    for number, colour in enumerate(CORNERS.values()):
        top, left = divmod(number, 2)
        found[top * 120 : top * 120 + 120, left * 160 : left * 160 + 160] = colour
    return found


def shown_by(path: Path, matrix: tuple[int, ...]) -> Path:
    """The same film, to be shown by a matrix: a, b, c, d."""
    a, b, c, d = (value << 16 for value in matrix)
    data = path.read_bytes()
    at = data.index(struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30), data.index(b"tkhd"))
    path.write_bytes(data[:at] + struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30) + data[at + 36 :])
    return path


def first_frame(path: Path, width: int, height: int) -> Frames:
    with path.open("rb") as file:
        (only,) = films.frames(file, width, height, 16, 1)
    return np.frombuffer(only, np.uint8).reshape(height, width, 3)


def corners(frame: Frames) -> str:
    height, width, _ = frame.shape
    places = [(y, x) for y in (height // 4, height * 3 // 4) for x in (width // 4, width * 3 // 4)]
    return " ".join(
        min(CORNERS, key=lambda name: int(np.abs(frame[place].astype(int) - CORNERS[name]).sum())) for place in places
    )


@pytest.mark.parametrize(
    ("matrix", "expected"),
    [
        ((1, 0, 0, 1), "red green blue white"),
        ((0, 1, -1, 0), "blue red white green"),
        ((-1, 0, 0, -1), "white blue green red"),
        ((0, -1, 1, 0), "green white red blue"),
        ((-1, 0, 0, 1), "green red white blue"),
        ((1, 0, 0, -1), "blue white red green"),
        ((0, 1, 1, 0), "red blue green white"),
        ((0, -1, -1, 0), "white green blue red"),
        ((0, 0, 0, 0), "red green blue white"),
    ],
    ids=["as it is", "90", "180", "270", "mirrored", "upside down", "mirrored, 90", "mirrored, 270", "nothing"],
)
def test_a_film_stands_upright_and_is_mirrored_where_it_says_so(
    tmp_path: Path, matrix: tuple[int, ...], expected: str
) -> None:
    path = shown_by(film(tmp_path / "a.mp4", quarters()), matrix)
    with path.open("rb") as file:
        facts = films.facts(file)
    lies = bool(matrix[1])
    assert (facts["width"], facts["height"]) == ((240, 320) if lies else (320, 240))
    assert corners(first_frame(path, *((48, 64) if lies else (64, 48)))) == expected


@pytest.mark.parametrize(
    ("rotation", "turn"),
    [
        (0, Turn()),
        (90, Turn(over=True, up_down=True)),
        (-90, Turn(over=True, left_right=True)),
        (180, Turn(left_right=True, up_down=True)),
        (-180, Turn(left_right=True, up_down=True)),
    ],
)
def test_a_frame_with_more_beside_it_than_pyav_knows_is_turned_all_the_same(rotation: int, turn: Turn) -> None:
    """PyAV has no names for what films for two eyes say."""

    class Frame:
        @property
        def side_data(self) -> object:
            raise ValueError("29 is not a valid Type")

    frame = Frame()
    frame.rotation = rotation  # type: ignore[attr-defined]
    assert turn_of(cast(av.VideoFrame, frame)) == turn


@pytest.mark.parametrize(("transfer", "name"), [(ColorTrc.ARIB_STD_B67, "HLG"), (ColorTrc.SMPTE2084, "PQ")])
def test_hdr_is_refused_and_not_taken_for_a_dark_film(tmp_path: Path, transfer: ColorTrc, name: str) -> None:
    white = np.full((96, 96, 3), 190, np.uint8)
    path = film(
        tmp_path / "a.mp4",
        white,
        form="yuv420p10le",
        tags={"color_trc": transfer, "color_primaries": 9, "colorspace": 9},
    )
    with path.open("rb") as file, pytest.raises(RefusedError, match=rf"it is HDR \({name}\): export it as SDR"):
        films.facts(file)
    with pytest.raises(RefusedError, match="HDR"):
        first_frame(path, 32, 32)


@pytest.mark.parametrize(
    ("size", "space", "tags"),
    [
        ((1280, 96), Colorspace.ITU709, {}),
        ((96, 720), Colorspace.ITU709, {}),
        ((1278, 718), Colorspace.ITU601, {}),
        ((1280, 96), Colorspace.ITU601, {"colorspace": 6}),
        ((96, 96), Colorspace.ITU709, {"colorspace": 1}),
    ],
)
def test_colours_are_those_of_the_files_standard_or_of_its_size(
    tmp_path: Path, size: tuple[int, int], space: Colorspace, tags: dict[str, int]
) -> None:
    green = np.full((*reversed(size), 3), (40, 200, 40), np.uint8)
    found = first_frame(film(tmp_path / "a.mp4", green, space=space, tags=tags), 16, 16)
    assert np.abs(found[8, 8].astype(int) - (40, 200, 40)).max() < 6
