"""Pictures that Longtake makes: pixels stay what they are."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from serving.media.still import contact_sheet, native, png, scale_to


def board(height: int, width: int) -> NDArray[np.uint8]:
    """A frame in which every pixel differs from its neighbours."""
    rows, columns = np.indices((height, width))
    return np.stack([rows * 7, columns * 5, (rows + columns) % 2 * 255], axis=2).astype(np.uint8)


def read(data: bytes) -> NDArray[np.uint8]:
    return np.asarray(Image.open(io.BytesIO(data), formats=("PNG",)).convert("RGB"))


def test_a_png_is_enlarged_by_whole_pixels_and_read_back_exactly() -> None:
    frame = board(6, 9)
    large = read(png(frame, scale=4))
    assert large.shape == (24, 36, 3)
    assert np.array_equal(native(large[None], 4)[0], frame)
    assert np.array_equal(read(png(frame)), frame)


def test_the_largest_enlargement_that_fits_is_chosen() -> None:
    frame = board(64, 112)
    assert scale_to(frame, 784) == 7
    assert scale_to(frame, 783) == 6
    assert scale_to(frame, 50) == 1


def test_a_contact_sheet_holds_every_frame_with_its_caption() -> None:
    frames = np.stack([np.full((20, 30, 3), shade, np.uint8) for shade in (10, 60, 110, 160, 210)])
    plain = read(contact_sheet(frames, columns=2))
    captioned = read(contact_sheet(frames, columns=2, captions=["a", "b", "c", "d", "e"]))
    for sheet in (plain, captioned):
        for shade in (10, 60, 110, 160, 210):
            assert (sheet == shade).all(axis=2).sum() >= 20 * 30
    assert captioned.shape[0] > plain.shape[0]
    assert captioned.shape[1] == plain.shape[1]
