"""Pictures as cameras and programs write them. What is hostile stands in test_sandbox.py."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from serving.media.pictures import RefusedError, cropped, picture


def halves(form: str = "PNG", size: tuple[int, int] = (64, 64), **options: object) -> bytes:
    """Red on the left, blue on the right."""
    image = Image.new("RGB", size, (255, 0, 0))
    image.paste((0, 0, 255), (size[0] // 2, 0, *size))
    out = io.BytesIO()
    image.save(out, form, **options)
    return out.getvalue()


def turned() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 6  # by a quarter to the right: the left half comes to the top
    return exif


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP"])
def test_a_picture_stands_upright(form: str) -> None:
    image = picture(halves(form, (90, 40), exif=turned()), ground="black").image
    assert image.size == (40, 90)
    pixels = np.asarray(image)
    assert pixels[10, 20, 0] > 200
    assert pixels[80, 20, 2] > 200


@pytest.mark.parametrize(("mode", "colour"), [("RGBA", (9, 9, 9, 0)), ("RGBA", (9, 9, 9, 254)), ("LA", (9, 0))])
def test_what_is_transparent_is_told_of(mode: str, colour: tuple[int, ...]) -> None:
    for given, want in ((colour, True), ((*colour[:-1], 255), False)):
        out = io.BytesIO()
        Image.new(mode, (8, 8), given).save(out, "PNG")
        assert picture(out.getvalue(), ground="black").transparent is want
    assert picture(halves(), ground="black").transparent is False


def test_a_palette_with_a_transparent_colour_is_transparent_where_it_is_used() -> None:
    for used, want in ((0, True), (1, False)):
        image = Image.new("P", (8, 8), used)
        image.putpalette([255, 0, 0, 0, 255, 0])
        out = io.BytesIO()
        image.save(out, "PNG", transparency=0)
        assert picture(out.getvalue(), ground="black").transparent is want


def test_texts_and_profiles_in_a_png_may_have_any_length() -> None:
    """Programs keep their whole settings there. What says which side is up is read nevertheless."""
    info = PngImagePlugin.PngInfo()
    info.add_text("workflow", '{"n":1},' * 200_000, zip=True)
    info.add_itxt("prompt", "é" * 2_000_000, zip=True)
    info.add_text("parameters", "x" * 2_000_000)
    data = halves(pnginfo=info, icc_profile=bytes(2_000_000), exif=turned())
    pixels = np.asarray(picture(data, ground="black").image)
    assert pixels[2, 16, 0] > 200
    assert pixels[60, 16, 2] > 200


def test_the_side_that_is_up_may_stand_in_a_text() -> None:
    info = PngImagePlugin.PngInfo()
    xmp = '<x:xmpmeta xmlns:x="adobe:ns:meta/"><r tiff:Orientation="6" xmlns:tiff="http://ns.adobe.com/tiff/1.0/"/></x:xmpmeta>'
    info.add_itxt("XML:com.adobe.xmp", xmp)
    assert picture(halves(size=(90, 40), pnginfo=info), ground="black").image.size == (40, 90)


@pytest.mark.parametrize("cut", [9, 20, 40, 60, 70])
def test_a_png_that_ends_anywhere_is_refused(cut: int) -> None:
    with pytest.raises(RefusedError):
        picture(halves()[:cut], ground="black")


def test_what_follows_a_png_is_passed_over() -> None:
    assert picture(halves() + bytes(1000) + b"\xff" * 30, ground="black").image.size == (64, 64)


def test_pixels_that_are_no_squares_are_cropped_as_they_are_shown() -> None:
    """144x144 of 16:9 pixels fill a screen of 16:9 as they are."""
    image = Image.new("RGB", (144, 144))
    image.paste((255, 255, 255), (0, 0, 72, 144))
    shown = np.frombuffer(cropped(image, 32, 18, pixel=16 / 9), np.uint8).reshape(18, 32, 3)
    assert (shown[:, :16] == 255).all()
    assert (shown[:, 16:] == 0).all()
