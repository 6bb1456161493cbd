"""Closed-loop gRPC load with raw bytes, and the CPU time of the process that answers.

Raw bytes on the client's side, so that what differs between two arms is the server alone.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import grpc.aio

T = TypeVar("T")


@dataclass(frozen=True)
class Burst:
    """What one burst of equal calls cost."""

    calls: int
    seconds: float
    cpu_seconds: float
    """Of the answering process, user and system."""

    @property
    def per_second(self) -> float:
        """Calls answered per second."""
        return self.calls / self.seconds

    @property
    def cpu_us(self) -> float:
        """Microseconds of the server's CPU per call."""
        return self.cpu_seconds / self.calls * 1e6


def cpu_seconds(pid: int) -> float:
    """User and system seconds of a process so far, to the nanosecond.

    Linux names the CPU clock of any process by its id (clock_getcpuclockid(3)); /proc counts in ticks of 10 ms, too
    coarse for bursts that take turns quickly.
    """
    return time.clock_gettime(~pid << 3 | 2)


async def burst(
    channel: grpc.aio.Channel,
    method: str,
    requests: Sequence[bytes],
    pid: int,
    *,
    concurrency: int = 16,
    metadata: Sequence[tuple[str, str]] = (),
) -> Burst:
    """Send each request once, `concurrency` at a time. Raises grpc's `AioRpcError` for a call that fails."""
    call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(method)
    pending = iter(requests)

    async def worker() -> None:
        for request in pending:
            await call(request, metadata=tuple(metadata))

    before, start = cpu_seconds(pid), time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(concurrency)))
    return Burst(len(requests), time.perf_counter() - start, cpu_seconds(pid) - before)


@contextmanager
def echo_server() -> Iterator[tuple[int, int]]:
    """A bare echo server; its (pid, port)."""
    with subprocess.Popen(
        [sys.executable, "-m", "loadtests.echo"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield process.pid, int(process.stdout.readline())
        finally:
            process.stdin.close()


async def interleaved(
    rounds: int, arm: Callable[[], Awaitable[T]], base: Callable[[], Awaitable[T]]
) -> tuple[list[T], list[T]]:
    """Measure two arms in ABBA order, after each ran once unmeasured."""
    await arm()
    await base()
    arms: list[T] = []
    bases: list[T] = []
    for turn in range(rounds):
        if turn % 2:
            bases.append(await base())
            arms.append(await arm())
        else:
            arms.append(await arm())
            bases.append(await base())
    return arms, bases
