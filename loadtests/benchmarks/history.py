"""Whether a long video costs more to extend than a short one: one second added to each, in turns."""

from __future__ import annotations

import asyncio
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from loadtests.harness import interleaved
from loadtests.scale import Scale
from loadtests.studio import Studio, studio
from loadtests.table import Row, paired, spread
from serving.jobs.record import JobRecord
from serving.metrics import RENDER_SECONDS
from serving.segments.trail import SEGMENTS

NAME = "history"
AIM = "<= 1.05x"
MOVED = "<= 1.10x"
LENGTHS = (64 * SEGMENTS, 3600)
"""The manifest behind so many segments has the longest trail that there is in an hour; and the hour."""


@dataclass(frozen=True)
class _Extension:
    ms: float
    encoding_ms: float
    """Of it in the video encoder, whose work depends on what the video shows."""
    cpu_ms: float
    bytes_read: float
    bytes_written: float
    calls: float
    """Of the store; leases are beaten by the clock, so they differ by a few."""


def run(scale: Scale) -> list[Row]:
    """An extension at many segments of history against one at 1."""
    return asyncio.run(_run(scale))


async def _run(scale: Scale) -> list[Row]:
    with tempfile.TemporaryDirectory() as folder:
        async with studio(Path(folder)) as made:
            short = await made.make(seconds=1)
            long = await _long(made, scale.history)

            async def extend_long() -> _Extension:
                return await _extend(made, long)

            async def extend_short() -> _Extension:
                return await _extend(made, short)

            arm, base = await interleaved(3 * scale.rounds, extend_long, extend_short)
            moved = [
                row
                for segments in LENGTHS
                for row in await _moved(made, short, await made.lengthened(long, segments), segments)
            ]
    return [
        _row(scale.history, "ms", [e.ms for e in arm], [e.ms for e in base], AIM),
        _row(scale.history, "ms, video encoder", [e.encoding_ms for e in arm], [e.encoding_ms for e in base], ""),
        _row(
            scale.history,
            "ms, the rest",
            [e.ms - e.encoding_ms for e in arm],
            [e.ms - e.encoding_ms for e in base],
            AIM,
        ),
        _row(scale.history, "CPU ms", [e.cpu_ms for e in arm], [e.cpu_ms for e in base], ""),
        *moved,
    ]


async def _moved(made: Studio, short: JobRecord, long: JobRecord, segments: int) -> list[Row]:
    """What passes through the store: the long one against the short one."""

    async def extend_long() -> _Extension:
        return await _extend(made, long)

    async def extend_short() -> _Extension:
        return await _extend(made, short)

    arm, base = await interleaved(3, extend_long, extend_short)
    return [
        _row(segments, "kB read", [e.bytes_read / 1e3 for e in arm], [e.bytes_read / 1e3 for e in base], MOVED),
        _row(
            segments, "kB written", [e.bytes_written / 1e3 for e in arm], [e.bytes_written / 1e3 for e in base], MOVED
        ),
        _row(segments, "calls", [e.calls for e in arm], [e.calls for e in base], MOVED),
    ]


async def _long(made: Studio, segments: int) -> JobRecord:
    """A video of so many segments, made as a user would: what it shows decides what encoding it costs."""
    can = made.session.family.capabilities
    video = await made.make(seconds=min(segments, can.seconds.max))
    left = segments - len(video.segments)
    while left > 0:
        video = await made.make(seconds=min(left, can.extension_seconds.max), parent=video)
        left -= len(video.segments)
    return video


async def _extend(made: Studio, parent: JobRecord) -> _Extension:
    made.store.reset()
    made.sums.reset()
    cpu = time.process_time()
    done = await made.make(seconds=1, parent=parent)
    cpu = time.process_time() - cpu
    assert done.finished_ms is not None
    return _Extension(
        ms=done.finished_ms - done.created_ms,
        encoding_ms=1000 * made.sums.of(RENDER_SECONDS, "encode"),
        cpu_ms=cpu * 1000,
        bytes_read=made.store.read.total(),
        bytes_written=made.store.written.total(),
        calls=made.store.calls.total(),
    )


def _row(segments: int, unit: str, arm: list[float], base: list[float], aim: str) -> Row:
    what = f"extension by 1 s at {segments:,} segments of history, against at 1: {unit}"
    return Row(NAME, what, spread(arm), spread(base), paired(arm, base), aim)
