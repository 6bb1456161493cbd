"""What a status poll costs at the front door, against a bare grpc.aio echo that answers as many bytes.

One front-door process without a Director, on a store that holds one finished video and one that waits. The finished one
is answered from memory; for the other nobody vouches, so each poll reads the store. Every call carries an API key, and
the front door checks it.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import grpc.aio

from loadtests.echo import ECHO
from loadtests.harness import Burst, burst, echo_server, interleaved
from loadtests.scale import Scale
from loadtests.studio import TENANT, studio
from loadtests.table import Row, paired, spread
from serving import reports
from serving.frontdoor.edge.auth import BEARER
from serving.frontdoor.edge.keys_file import StoredKey, digest_of
from serving.gen.longtake.v1.videos_pb2 import GetVideoRequest
from serving.gen.xai.api.v1.video_pb2 import GetDeferredVideoRequest
from serving.local.parts import environment_of
from serving.settings import Settings, load_settings

NAME = "frontdoor"
AIM = "<= 1.5x"
_GET = "/longtake.v1.Videos/GetVideo"
_DEFERRED = "/xai_api.Video/GetDeferredVideo"


class FrontDoorEnded(Exception):
    """The front door did not start; its log."""


@dataclass(frozen=True)
class _Server:
    pid: int
    channel: grpc.aio.Channel
    key: str

    async def poll(self, method: str, requests: Sequence[bytes]) -> Burst:
        return await burst(self.channel, method, requests, self.pid, metadata=self.metadata)

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        return (("authorization", BEARER + self.key),)


@dataclass(frozen=True)
class _Arm:
    """One kind of poll, and the echo of the same size."""

    what: str
    method: str
    request: bytes
    aim: str


def run(scale: Scale) -> list[Row]:
    """Each kind of poll beside its echo, in ABBA order."""
    return asyncio.run(_run(scale))


async def _run(scale: Scale) -> list[Row]:
    with tempfile.TemporaryDirectory() as folder:
        async with studio(Path(folder)) as made:
            finished = (await made.make(seconds=1)).id
        async with studio(Path(folder)) as made:
            waiting = (await made.accept(seconds=1)).id
        return await _measure(scale, Path(folder), finished, waiting)


async def _measure(scale: Scale, store: Path, finished: str, waiting: str) -> list[Row]:
    arms = (
        _Arm("longtake.v1 GetVideo, from memory", _GET, GetVideoRequest(id=finished).SerializeToString(), AIM),
        _Arm(
            "xai_api GetDeferredVideo, from memory",
            _DEFERRED,
            GetDeferredVideoRequest(request_id=finished).SerializeToString(),
            AIM,
        ),
        _Arm("longtake.v1 GetVideo, cold", _GET, GetVideoRequest(id=waiting).SerializeToString(), ""),
    )
    key = secrets.token_hex(16)
    stored = StoredKey(id="bench", tenant=TENANT, name="bench", sha256=digest_of(key), created=datetime.now(UTC))
    keys = store / "keys.jsonl"
    keys.write_text(stored.model_dump_json())
    settings = load_settings(
        store=str(store),
        grpc={"address": "127.0.0.1:0"},
        http={"address": "127.0.0.1:0"},
        auth={"keys_file": str(keys)},
    )
    rows: list[Row] = []
    with front_door(settings) as (door_pid, door_at), echo_server() as (echo_pid, port):
        async with AsyncExitStack() as stack:
            to_door = await stack.enter_async_context(grpc.aio.insecure_channel(door_at["grpc"]))
            to_echo = await stack.enter_async_context(grpc.aio.insecure_channel(f"127.0.0.1:{port}"))
            door, echo = _Server(door_pid, to_door, key), _Server(echo_pid, to_echo, key)
            for arm in arms:
                rows += await _compare(arm, door, echo, scale)
    return rows


async def _compare(arm: _Arm, door: _Server, echo: _Server, scale: Scale) -> list[Row]:
    call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = door.channel.unary_unary(arm.method)
    size = len(await call(arm.request, metadata=door.metadata))
    padded = size.to_bytes(8, "little").ljust(len(arm.request), b"\0")
    calls = scale.polls

    async def poll() -> Burst:
        return await door.poll(arm.method, [arm.request] * calls)

    async def bare() -> Burst:
        return await echo.poll(ECHO, [padded] * calls)

    polls, echoes = await interleaved(4 * scale.rounds, poll, bare)
    return [
        _row(arm, f"{size} bytes, server CPU us", [b.cpu_us for b in polls], [b.cpu_us for b in echoes], arm.aim),
        _row(arm, "per second", [b.per_second for b in polls], [b.per_second for b in echoes], ""),
    ]


def _row(arm: _Arm, unit: str, polls: list[float], echoes: list[float], aim: str) -> Row:
    return Row(NAME, f"{arm.what}: {unit}", spread(polls, 0), spread(echoes, 0), paired(polls, echoes), aim)


@contextmanager
def front_door(settings: Settings) -> Iterator[tuple[int, Mapping[str, str]]]:
    """A front-door process; its pid, and its addresses by name (`grpc`, `http`)."""
    reading, writing = os.pipe()
    command = [sys.executable, "-m", "serving.frontdoor", "--reports", str(writing)]
    with (
        tempfile.TemporaryFile() as log,
        subprocess.Popen(command, env=environment_of(settings), pass_fds=[writing], stdout=log, stderr=log) as process,
    ):
        os.close(writing)
        try:
            with os.fdopen(reading, "rb") as pipe:
                line = pipe.readline()
            if not line:
                log.seek(0)
                raise FrontDoorEnded(log.read().decode(errors="replace"))
            yield process.pid, reports.read(line).ready
        finally:
            process.terminate()
