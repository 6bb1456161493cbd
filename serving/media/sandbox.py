"""Untrusted pictures and videos are decoded in a child process with limits; this is the parent's side.

The front door checks inputs with it before a job is accepted, the Conditioner decodes them for good. Whatever the child
does (refuse, crash, hang, talk too much) becomes an `InvalidArgument` that names the field, and nothing else happens.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from serving.errors import InvalidArgument

Frames = NDArray[np.uint8]

MAX_PICTURE_BYTES = 10 * 1024 * 1024
_PICTURE_SECONDS, _VIDEO_SECONDS = 10, 120
_MEMORY_BYTES = 2 * 1024**3
_ROOT = str(Path(__file__).resolve().parents[2])
_START = "import sys; sys.path.insert(0, {root!r}); from serving.media.worker import main; sys.exit(main())"
_SUPPORTED = "PNG, JPEG and WebP pictures, and MP4 videos (H.264, H.265, AV1), are supported"


@dataclass(frozen=True)
class VideoFacts:
    """What a video file says of itself, after its first frame decoded."""

    codec: str
    width: int
    height: int
    fps: float
    seconds: float


class Decoder:
    """Starts one child per input. At most `parallel` run at once; the rest wait."""

    def __init__(self, parallel: int = 2) -> None:
        self._places = asyncio.Semaphore(parallel)

    async def check_image(self, data: bytes, *, field: str) -> None:
        """Make sure that a picture decodes. Raises `InvalidArgument`."""
        await self.image(data, 8, 8, field=field)

    async def image(self, data: bytes, width: int, height: int, *, field: str = "image") -> Frames:
        """A picture, centre-cropped and scaled: uint8 [height, width, 3]. Raises `InvalidArgument`."""
        if len(data) > MAX_PICTURE_BYTES:
            raise InvalidArgument(field, f"the picture has {len(data)} bytes; at most {MAX_PICTURE_BYTES} are taken")
        call = _call("picture", _PICTURE_SECONDS, width=width, height=height)
        size = width * height * 3
        async with self._child(call, PIPE, _PICTURE_SECONDS, field) as child:
            answer, _ = await asyncio.gather(_head_and(child, size, field), _feed(child, data))
        return np.frombuffer(answer, np.uint8).reshape(height, width, 3)

    async def probe_video(self, path: Path, *, field: str = "video") -> VideoFacts:
        """Codec, size and length of a video file. Raises `InvalidArgument`."""
        with path.open("rb") as file:
            async with self._child(_call("facts", _PICTURE_SECONDS), file, _PICTURE_SECONDS, field) as child:
                said = await _head(child, field)
        try:
            return VideoFacts(**said)
        except TypeError as error:
            raise _undecodable(field) from error

    async def decode_video(
        self, path: Path, *, width: int, height: int, fps: int, frames: int, field: str = "video"
    ) -> AsyncIterator[Frames]:
        """`frames` frames, resampled once to `fps` and the given size, one by one: uint8 [height, width, 3].

        Close it (`contextlib.aclosing`) when not all are read. Raises `InvalidArgument`.
        """
        call = _call("frames", _VIDEO_SECONDS, width=width, height=height, fps=fps, frames=frames)
        with path.open("rb") as file:
            async with self._child(call, file, _VIDEO_SECONDS, field) as child:
                await _head(child, field)
                for _ in range(frames):
                    raw = await _exactly(child, width * height * 3, field)
                    yield np.frombuffer(raw, np.uint8).reshape(height, width, 3)

    @asynccontextmanager
    async def _child(
        self, call: dict[str, Any], source: int | BinaryIO, seconds: float, field: str
    ) -> AsyncIterator[Process]:
        async with self._places:
            child = await asyncio.create_subprocess_exec(
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
            try:
                async with asyncio.timeout(seconds * 2):
                    yield child
            except TimeoutError as error:
                raise InvalidArgument(field, f"it takes too long to decode; {_SUPPORTED}") from error
            finally:
                await _end(child)


def _call(do: str, cpu_seconds: int, **more: int) -> dict[str, Any]:
    return {"do": do, "cpu_seconds": cpu_seconds, "memory_bytes": _MEMORY_BYTES, **more}


async def _end(child: Process) -> None:
    """Let a child that has answered end by itself; end any other."""
    try:
        await asyncio.wait_for(child.wait(), 0.2)
    except TimeoutError:
        with suppress(ProcessLookupError):  # it ended in this very moment
            os.kill(child.pid, signal.SIGKILL)
        await child.wait()


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
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError, AttributeError) as error:
        raise _undecodable(field) from error
    if refused is not None:
        raise InvalidArgument(field, f"{str(refused)[:300]} ({_SUPPORTED})")
    return said


async def _head_and(child: Process, size: int, field: str) -> bytes:
    await _head(child, field)
    return await _exactly(child, size, field)


async def _exactly(child: Process, size: int, field: str) -> bytes:
    assert child.stdout is not None
    try:
        return await child.stdout.readexactly(size)
    except asyncio.IncompleteReadError as error:
        raise _undecodable(field) from error


def _undecodable(field: str) -> InvalidArgument:
    return InvalidArgument(field, f"it could not be decoded; {_SUPPORTED}")
