"""Decodes pictures of users: how large one is, and its pixels in the size and shape that a model takes.

Only `worker.py` calls it, in a child process that could do no harm.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageOps

FORMATS = ("PNG", "JPEG", "WEBP")
MAX_PIXELS = 50_000_000
_PNG = b"\x89PNG\r\n\x1a\n"
_TEXTS = (b"tEXt", b"zTXt", b"iTXt", b"iCCP")
_ORIENTATIONS = (b"XML:com.adobe.xmp\0", b"Raw profile type exif\0")
"""Texts that say which side is up."""


class RefusedError(Exception):
    """The input is not what it must be; the message is for its owner."""


@dataclass(frozen=True)
class Picture:
    """A picture as it is looked at: upright, with what is transparent laid over one colour."""

    image: Image.Image
    """RGB."""
    transparent: bool
    """Whether any of it was."""


def picture(data: bytes, *, ground: str) -> Picture:
    """A picture, over `ground`. Raises `RefusedError`."""
    image = ImageOps.exif_transpose(_open(data))
    if image.mode.startswith("I"):  # 16 bits of grey, which `convert` would clip to white
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode not in ("RGBA", "LA", "PA") and "transparency" not in image.info:
        return Picture(image.convert("RGB"), transparent=False)
    rgba = image.convert("RGBA")
    least, _ = rgba.getchannel("A").getextrema()
    over = Image.alpha_composite(Image.new("RGBA", rgba.size, ground), rgba)
    return Picture(over.convert("RGB"), transparent=least != 255)


def within(image: Image.Image, width: int, height: int) -> bytes:
    """All of it, as large as fits, in the middle of white; a small one is enlarged smoothly: RGB bytes."""
    scale = min(width / image.width, height / image.height)
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    found = Image.new("RGB", (width, height), "white")
    found.paste(image.resize(size, Image.Resampling.BILINEAR), ((width - size[0]) // 2, (height - size[1]) // 2))
    return found.tobytes()


def cropped(image: Image.Image, width: int, height: int, *, pixel: float = 1.0) -> bytes:
    """Its middle, of the shape that is asked for, scaled by area: RGB bytes. `pixel`: width by height of a pixel."""
    shape = width / height / pixel
    keep_w = min(image.width, max(1, round(image.height * shape)))
    keep_h = min(image.height, max(1, round(image.width / shape)))
    left, top = (image.width - keep_w) // 2, (image.height - keep_h) // 2
    middle = image.crop((left, top, left + keep_w, top + keep_h))
    return middle.resize((width, height), Image.Resampling.BOX).tobytes()


def _open(data: bytes) -> Image.Image:
    Image.MAX_IMAGE_PIXELS = MAX_PIXELS
    if data.startswith(_PNG):
        data = b"".join(_without_texts(data))
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except Image.DecompressionBombError as error:
        raise RefusedError(f"it has more than {MAX_PIXELS // 1_000_000} megapixels") from error
    except (OSError, ValueError, SyntaxError) as error:
        raise RefusedError("it is no PNG, JPEG or WebP picture") from error
    if image.width * image.height > MAX_PIXELS:
        raise RefusedError(f"it has more than {MAX_PIXELS // 1_000_000} megapixels")
    # A phone's JPEG may carry further pictures (depth, HDR) behind the first, which is the one that is meant.
    if image.format != "MPO" and getattr(image, "n_frames", 1) > 1:
        raise RefusedError("it is an animation; send a single picture")
    try:
        image.load()
    except (OSError, ValueError, SyntaxError, EOFError) as error:
        raise RefusedError("it is damaged and cannot be decoded") from error
    return image


def _without_texts(png: bytes) -> Iterator[bytes]:
    """A PNG's chunks but for texts and colour profiles, which change no pixel here and may be of any size: programs
    write their whole settings there.
    """
    yield _PNG
    at = len(_PNG)
    while at < len(png):
        end = at + 12 + int.from_bytes(png[at : at + 4])
        kind, text = png[at + 4 : at + 8], png[at + 8 : at + 32]
        if kind not in _TEXTS or text.startswith(_ORIENTATIONS):
            yield png[at:end]
        at = end
