"""Untrusted pictures and videos are decoded in a child process with limits; this is the parent's side.

The front door checks inputs with it before a job is accepted, the Conditioner decodes them for good. Whatever the child
does (refuse, crash, hang, talk too much) becomes an `InvalidArgument` that names the field, and nothing else happens.
One that was stopped says nothing of the bytes: on a machine with less to do it might have ended. That is `TooSlow`.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from pydantic import Field, ValidationError

from engines.families.base import Frames
from serving.errors import InvalidArgument, Unavailable
from serving.frozen import Frozen
from serving.media.reaping import ended

MAX_PICTURE_BYTES = 10 * 1024 * 1024
_PICTURE_SECONDS, _VIDEO_SECONDS = 10, 120
_MEMORY_BYTES = 2 * 1024**3
_ROOT = str(Path(__file__).resolve().parents[2])
_START = "import sys; sys.path.insert(0, {root!r}); from serving.media.worker import main; sys.exit(main())"
_SUPPORTED = "PNG, JPEG and WebP pictures, and MP4 videos (H.264, H.265, AV1), are supported"
_SLOW = "it takes too long to decode here; send it again later, or a smaller one"
_STOPPED = (-signal.SIGKILL, -signal.SIGXCPU)
"""How a child ends at the limit of its CPU time, or where the machine has no memory left."""


class TooSlow(InvalidArgument):
    """The input was not decoded within its limits, which is no verdict on its bytes: another time it may be."""


class PictureFacts(Frozen):
    """A picture that decodes: its size, upright."""

    width: int = Field(gt=0)
    height: int = Field(gt=0)
    transparent: bool
    """Whether any of it is."""


class VideoFacts(Frozen):
    """What a video file says of itself, after its first frame decoded; its size is that of the upright picture on a
    screen, whose pixels are square."""

    codec: str = Field(max_length=32)
    width: int = Field(gt=0)
    height: int = Field(gt=0)
    fps: float = Field(ge=0, allow_inf_nan=False)
    seconds: float = Field(ge=0, allow_inf_nan=False)


class Decoder:
    """Starts one child per input. At most `parallel` run at once; the rest wait."""

    def __init__(self, parallel: int = 2) -> None:
        self._places = asyncio.Semaphore(parallel)

    async def check_image(self, data: bytes, *, field: str) -> PictureFacts:
        """Make sure that a picture decodes. Raises `InvalidArgument`."""
        said, _ = await self._picture(data, 8, 8, whole=False, field=field)
        try:
            return PictureFacts.model_validate(said)
        except ValidationError as error:
            raise _undecodable(field) from error

    async def image(self, data: bytes, width: int, height: int, *, whole: bool = False, field: str = "image") -> Frames:
        """A picture, centre-cropped and scaled over black, or `whole` over white: uint8 [height, width, 3]. Raises
        `InvalidArgument`."""
        _, pixels = await self._picture(data, width, height, whole=whole, field=field)
        return np.frombuffer(pixels, np.uint8).reshape(height, width, 3)

    async def _picture(
        self, data: bytes, width: int, height: int, *, whole: bool, field: str
    ) -> tuple[dict[str, Any], bytes]:
        if len(data) > MAX_PICTURE_BYTES:
            raise InvalidArgument(field, f"the picture has {len(data)} bytes; at most {MAX_PICTURE_BYTES} are taken")
        call = _call("picture", _PICTURE_SECONDS, width=width, height=height, whole=whole)
        async with self._child(call, PIPE) as child, _Patience(_PICTURE_SECONDS, field).wait():
            (said, pixels), _ = await asyncio.gather(_head_and(child, width * height * 3, field), _feed(child, data))
        return said, pixels

    async def probe_video(self, path: Path, *, field: str = "video") -> VideoFacts:
        """Codec, size and length of a video file. Raises `InvalidArgument`."""
        call, patience = _call("facts", _PICTURE_SECONDS), _Patience(_PICTURE_SECONDS, field)
        with path.open("rb") as file:
            async with self._child(call, file) as child, patience.wait():
                said = await _head(child, field)
        try:
            return VideoFacts.model_validate(said)
        except ValidationError as error:
            raise _undecodable(field) from error

    async def decode_video(
        self, path: Path, *, width: int, height: int, fps: int, frames: int, field: str = "video"
    ) -> AsyncIterator[Frames]:
        """`frames` frames, resampled once to `fps` and the given size, one by one: uint8 [height, width, 3].

        Close it (`contextlib.aclosing`) when not all are read. Raises `InvalidArgument`.
        """
        call = _call("frames", _VIDEO_SECONDS, width=width, height=height, fps=fps, frames=frames)
        patience = _Patience(_VIDEO_SECONDS, field)
        with path.open("rb") as file:
            async with self._child(call, file) as child:
                async with patience.wait():
                    await _head(child, field)
                for _ in range(frames):
                    async with patience.wait():
                        raw = await _exactly(child, width * height * 3, field)
                    yield np.frombuffer(raw, np.uint8).reshape(height, width, 3)

    @asynccontextmanager
    async def _child(self, call: dict[str, Any], source: int | BinaryIO) -> AsyncIterator[Process]:
        async with self._places:
            child = await _started(call, source)
            try:
                yield child
            except BaseException:
                await ended(child, at_once=True)
                raise
            await ended(child)


async def _started(call: dict[str, Any], source: int | BinaryIO) -> Process:
    """Raises `Unavailable` where the machine starts no further process."""
    try:
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-I",
            "-c",
            _START.format(root=_ROOT),
            json.dumps(call),
            stdin=source,
            stdout=PIPE,
            stderr=DEVNULL,
            env={"PATH": os.defpath},
            cwd="/",
            start_new_session=True,
        )
    except OSError as error:
        raise Unavailable(
            f"no process could be started to decode it ({error.strerror}): an operator gives the server more memory, "
            "processes or open files",
            retry_after_s=10,
            reason="NO_PROCESS",
        ) from error


class _Patience:
    """Bounds how long is waited for one child, all waits together; what the caller does between them is its own time.

    A child's CPU time has a limit too. This one is twice as long, and ends those that wait instead of computing.
    """

    def __init__(self, cpu_seconds: float, field: str) -> None:
        self._left = cpu_seconds * 2
        self._field = field

    @asynccontextmanager
    async def wait(self) -> AsyncIterator[None]:
        """Raises `TooSlow` when the time is used up."""
        started = time.monotonic()
        try:
            async with asyncio.timeout(self._left):
                yield
        except TimeoutError as error:
            raise TooSlow(self._field, _SLOW) from error
        self._left -= time.monotonic() - started


def _call(do: str, cpu_seconds: int, **more: int) -> dict[str, Any]:
    return {"do": do, "cpu_seconds": cpu_seconds, "memory_bytes": _MEMORY_BYTES, **more}


async def _feed(child: Process, data: bytes) -> None:
    assert child.stdin is not None
    try:
        child.stdin.write(data)
        await child.stdin.drain()
        child.stdin.close()
        await child.stdin.wait_closed()
    except (BrokenPipeError, ConnectionResetError):  # it refused early, or died: its answer tells
        return


async def _head(child: Process, field: str) -> dict[str, Any]:
    """The child's one line. Raises `InvalidArgument` for a refusal and for anything that is no such line."""
    assert child.stdout is not None
    try:
        line = await child.stdout.readuntil(b"\n")
        said: dict[str, Any] = json.loads(line)
        refused = said.get("refused")
    except asyncio.IncompleteReadError as error:
        raise await _cut_short(child, field) from error
    except (asyncio.LimitOverrunError, ValueError, AttributeError) as error:
        raise _undecodable(field) from error
    if refused is not None:
        raise InvalidArgument(field, f"{str(refused)[:300]} ({_SUPPORTED})")
    return said


async def _head_and(child: Process, size: int, field: str) -> tuple[dict[str, Any], bytes]:
    said = await _head(child, field)
    return said, await _exactly(child, size, field)


async def _exactly(child: Process, size: int, field: str) -> bytes:
    assert child.stdout is not None
    try:
        return await child.stdout.readexactly(size)
    except asyncio.IncompleteReadError as error:
        raise await _cut_short(child, field) from error


async def _cut_short(child: Process, field: str) -> InvalidArgument:
    """Why a child says no more than it did."""
    await ended(child)
    return TooSlow(field, _SLOW) if child.returncode in _STOPPED else _undecodable(field)


def _undecodable(field: str) -> InvalidArgument:
    return InvalidArgument(field, f"it could not be decoded; {_SUPPORTED}")
