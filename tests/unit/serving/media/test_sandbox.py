"""Hostile pictures and videos: refused with a reason, never a crash."""

from __future__ import annotations

import asyncio
import io
import struct
import sys
import zipfile
import zlib
from contextlib import aclosing
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from serving.errors import InvalidArgument, Unavailable
from serving.media import sandbox
from serving.media.sandbox import Decoder, TooSlow
from serving.media.scheduling import unchanged_scheduling

pytestmark = pytest.mark.anyio


def picture(form: str = "PNG", size: tuple[int, int] = (100, 60), **options: object) -> bytes:
    image = Image.new("RGB", size, (255, 0, 0))
    image.paste((0, 0, 255), (size[0] // 2, 0, *size))
    out = io.BytesIO()
    image.save(out, form, **options)
    return out.getvalue()


def video(path: Path, *, seconds: float = 2.0, codec: str = "libx264", size: tuple[int, int] = (160, 90)) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=10)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        with unchanged_scheduling():
            stream.codec_context.open()
        for number in range(round(seconds * 10)):
            frame = np.full((size[1], size[0], 3), number * 10 % 255, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return path


def png_of(width: int, height: int) -> bytes:
    """A PNG whose header promises a size that its data does not have."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 9)) + chunk(b"IEND", b"")


async def test_a_whole_picture_lies_over_white() -> None:
    wide = await Decoder().image(picture(size=(64, 16)), 32, 32, whole=True)
    assert (wide[:12] == 255).all()
    assert (wide[20:] == 255).all()
    assert (wide[12:20, :14] == (255, 0, 0)).all()
    assert (wide[12:20, 18:] == (0, 0, 255)).all()
    tall = await Decoder().image(picture(size=(3, 90)), 48, 30, whole=True)
    assert (tall != 255).any(-1).any(0).tolist() == [False] * 23 + [True] + [False] * 24
    clear = io.BytesIO()
    Image.new("RGBA", (32, 32), (0, 0, 0, 0)).save(clear, "PNG")
    assert (await Decoder().image(clear.getvalue(), 32, 32, whole=True) == 255).all()


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP"])
async def test_a_picture_is_cropped_to_its_middle_and_scaled(form: str) -> None:
    pixels = await Decoder().image(picture(form), 32, 32)
    assert pixels.shape == (32, 32, 3)
    assert np.abs(pixels[16, 2].astype(int) - (255, 0, 0)).max() < 12
    assert np.abs(pixels[16, 29].astype(int) - (0, 0, 255)).max() < 12


async def test_transparency_lies_over_black_and_orientation_is_followed() -> None:
    out = io.BytesIO()
    Image.new("RGBA", (10, 10), (255, 255, 255, 0)).save(out, "PNG")
    assert (await Decoder().image(out.getvalue(), 8, 8)).max() == 0
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    turned = await Decoder().image(picture("JPEG", (64, 64), exif=exif), 32, 32)
    assert turned[2, 16, 0] > 200
    assert turned[29, 16, 2] > 200


async def test_a_picture_that_decodes_is_told_of() -> None:
    facts = await Decoder().check_image(picture(size=(90, 40)), field="f")
    assert (facts.width, facts.height, facts.transparent) == (90, 40, False)


def _zip() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("a", "b")
    return out.getvalue()


HOSTILE = {
    "nothing": b"",
    "noise": bytes(range(256)) * 4,
    "truncated": picture()[:70],
    "bomb": png_of(60_000, 60_000),
    "many pixels, no data": png_of(6_000, 6_000),
    "gif": picture("GIF"),
    "svg": b"<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/></svg>",
    "zip": _zip(),
    "too large": b"\x89PNG\r\n\x1a\n" + b"\0" * (10 * 1024 * 1024),
}


@pytest.mark.parametrize("name", HOSTILE)
async def test_what_is_no_good_picture_is_refused_by_field(name: str) -> None:
    with pytest.raises(InvalidArgument, match=r"^image_url: "):
        await Decoder().image(HOSTILE[name], 32, 32, field="image_url")


async def test_an_animation_is_refused() -> None:
    frames = [Image.new("RGB", (8, 8), (i * 60, 0, 0)) for i in range(3)]
    out = io.BytesIO()
    frames[0].save(out, "WEBP", save_all=True, append_images=frames[1:])
    with pytest.raises(InvalidArgument, match="animation"):
        await Decoder().image(out.getvalue(), 8, 8)


async def test_a_phones_picture_with_more_behind_it_is_its_first() -> None:
    out = io.BytesIO()
    first, behind = Image.new("RGB", (64, 64), (200, 10, 10)), Image.new("RGB", (32, 32))
    first.save(out, "MPO", save_all=True, append_images=[behind])
    pixels = await Decoder().image(out.getvalue(), 8, 8)
    assert np.abs(pixels.astype(int) - (200, 10, 10)).max() < 12


async def test_sixteen_bits_of_grey_keep_their_shade() -> None:
    out = io.BytesIO()
    Image.fromarray(np.full((16, 16), 20_000, np.uint16)).save(out, "PNG")
    assert set((await Decoder().image(out.getvalue(), 8, 8)).ravel()) == {20_000 >> 8}


async def test_a_video_is_resampled_once(tmp_path: Path) -> None:
    path = video(tmp_path / "a.mp4")
    facts = await Decoder().probe_video(path)
    assert (facts.codec, facts.width, facts.height, facts.seconds) == ("h264", 160, 90, 2.0)
    frames = [f async for f in Decoder().decode_video(path, width=112, height=64, fps=16, frames=33)]
    assert len(frames) == 33
    assert frames[0].shape == (64, 112, 3)
    levels = [int(f.mean()) for f in frames]
    assert levels == sorted(levels)
    assert levels[-1] > 150


async def test_videos_out_of_bounds_are_refused(tmp_path: Path) -> None:
    bad = {
        "short": video(tmp_path / "short.mp4", seconds=1.0),
        "mpeg4": video(tmp_path / "mpeg4.mp4", codec="mpeg4"),
        "playlist": tmp_path / "playlist.mp4",
        "cut": tmp_path / "cut.mp4",
        "empty": tmp_path / "empty.mp4",
    }
    bad["playlist"].write_text("#EXTM3U\n#EXTINF:10,\nfile:///etc/passwd\n")
    bad["cut"].write_bytes(video(tmp_path / "whole.mp4").read_bytes()[:900])
    bad["empty"].write_bytes(b"")
    for path in bad.values():
        with pytest.raises(InvalidArgument, match=r"^video: "):
            await Decoder().probe_video(path, field="video")


def _moved(data: bytes, matrix: tuple[int, ...]) -> bytes:
    """An MP4 whose track is displayed by this matrix (a b u c d v x y w, 16.16 fixed point but for u, v, w)."""
    identity = struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
    at = data.index(identity, data.index(b"tkhd"))
    return data[:at] + struct.pack(">9i", *matrix) + data[at + len(identity) :]


async def test_a_video_of_a_phone_held_upright_stands_upright(tmp_path: Path) -> None:
    path = tmp_path / "upright.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 160, 96, "yuv420p"
        frame = np.zeros((96, 160, 3), np.uint8)
        frame[:, :80] = 255  # the left half, which a turn to the right brings to the top
        for _ in range(20):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    quarter = (0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30)
    path.write_bytes(_moved(path.read_bytes(), quarter))
    facts = await Decoder().probe_video(path)
    assert (facts.width, facts.height) == (96, 160)
    (only,) = [f async for f in Decoder().decode_video(path, width=48, height=80, fps=16, frames=1)]
    assert only[:36].min() > 200
    assert only[44:].max() < 50


@pytest.mark.parametrize(("encoder", "codec"), [("libx265", "hevc"), ("libsvtav1", "av1")])
async def test_the_other_codecs_decode_in_the_child(tmp_path: Path, encoder: str, codec: str) -> None:
    path = video(tmp_path / "a.mp4", codec=encoder, size=(160, 96))
    assert (await Decoder().probe_video(path)).codec == codec
    frames = [f async for f in Decoder().decode_video(path, width=32, height=16, fps=16, frames=3)]
    assert len(frames) == 3


async def test_a_video_without_pictures_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "sound.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 8000 * 3), np.float32), format="fltp", layout="mono")
        silence.sample_rate = 8000
        container.mux(stream.encode(silence))
        container.mux(stream.encode())
    with pytest.raises(InvalidArgument, match="exactly one video track"):
        await Decoder().probe_video(path)


CHILDREN = {
    "crashes": "import os; os.abort()",
    "says nothing": "pass",
    "hangs": "import time; time.sleep(60)",
    "talks without end": "while True: print('x' * 100_000, end='')",
    "speaks no JSON": "print('hello')",
    "is no object": "print('[1]')",
    "promises and stops": "print('{}')",
}


@pytest.mark.parametrize("name", CHILDREN)
async def test_whatever_a_child_does_is_a_refusal(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "_START", CHILDREN[name].replace("{}", "{{}}"))
    monkeypatch.setattr(sandbox, "_PICTURE_SECONDS", 0.5)
    with pytest.raises(InvalidArgument, match=r"^image: it (could not be decoded|takes too long)"):
        await Decoder().image(picture(), 32, 32)


@pytest.mark.parametrize(
    ("stopped", "said"),
    [
        ("import resource as r; r.setrlimit(r.RLIMIT_CPU, (1, 1))\nwhile True: pass", TooSlow),
        ("import os; os.kill(os.getpid(), 9)", TooSlow),
        ("import os; os.kill(os.getpid(), 11)", InvalidArgument),
        ("raise MemoryError", InvalidArgument),
    ],
    ids=["its CPU time is used up", "the machine's memory is used up", "it crashes", "its own memory is used up"],
)
async def test_a_child_that_was_stopped_is_no_verdict_on_its_input(
    stopped: str, said: type[InvalidArgument], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sandbox, "_START", stopped)
    with pytest.raises(InvalidArgument, match=r"^image: it ") as caught:
        await Decoder().check_image(picture(), field="image")
    assert type(caught.value) is said


async def test_a_machine_that_starts_no_process_is_the_operators(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(Unavailable, match=r"no process could be started to decode it \(No such file") as caught:
        await Decoder().check_image(picture(), field="image")
    assert caught.value.retry_after_s


async def test_facts_that_cannot_be_are_not_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        sandbox, "_START", """print('{{"codec": "h264", "width": 1, "height": 1, "fps": 1, "seconds": NaN}}')"""
    )
    (tmp_path / "a.mp4").write_bytes(b"any")
    with pytest.raises(InvalidArgument, match="could not be decoded"):
        await Decoder().probe_video(tmp_path / "a.mp4")


async def test_a_reader_may_stop_early(tmp_path: Path) -> None:
    path, decoder = video(tmp_path / "a.mp4"), Decoder(parallel=1)
    frames = decoder.decode_video(path, width=640, height=360, fps=16, frames=33)
    async with aclosing(frames):  # type: ignore[type-var]  # a generator, whatever it says
        await anext(frames)
    assert (await decoder.probe_video(path)).codec == "h264"


async def test_only_the_waiting_for_a_child_counts() -> None:
    patience = sandbox._Patience(0.2, "video")
    async with patience.wait():
        pass
    await asyncio.sleep(0.5)  # the reader's own work
    async with patience.wait():
        pass
    with pytest.raises(InvalidArgument, match=r"^video: it takes too long"):
        async with patience.wait():
            await asyncio.sleep(60)
