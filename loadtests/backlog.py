"""A Director with a backlog, alone in its process: what memory it takes, and how much of a core.

`benchmarks/backlog.py` runs `python -m loadtests.backlog`, one process for each figure; the answer is a line of JSON. A
million jobs would be larger than what is measured, so the store makes keys and records when it is asked for them.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import sys
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import structlog

from loadtests.paced import PAGE, PacedOffice, PacedStore, queued
from serving.clock import now_ms
from serving.cycles import collect_cycles_rarely
from serving.metrics import DIRECTOR_STEP_SECONDS, Metric, Unrecorded
from serving.store import keys
from serving.store.base import Listed

SLOTS = 10
SLICE_S = 1.0
"""A job's only slice: so ten jobs end in a second, and ten others start."""
LISTINGS = 2
"""The first learns all jobs, the second meets them all again."""
HOUR_MS = 3_600_000


@dataclass(frozen=True)
class Found:
    """What one process tells."""

    idle_mb: float
    """Resident, before there is a Director."""
    most_mb: float
    """Resident at most, listings and work included."""
    core: float
    """Share of a core that the process took after its first listing, store and stages included; it lists on."""
    ordering: float
    """The part of it that ordering took."""
    ended: float
    """Jobs a second meanwhile."""


class Backlog(PacedStore):
    """Holds so many jobs that wait, of so many tenants, besides what is laid into it."""

    def __init__(
        self, jobs: int, tenants: int, *, dated: bool, now_ms: Callable[[], int], round_trip_s: float = 0.005
    ) -> None:
        super().__init__(round_trip_s, now_ms)
        self._count, self._tenants, self._dated = jobs, tenants, dated
        self._made_ms = now_ms() - HOUR_MS
        self._record = queued("tenant", self._made_ms)
        self._deleted: set[str] = set()

    async def list(self, prefix: str, *, after: str = "", limit: int | None = None) -> AsyncIterator[Listed]:
        async for laid in super().list(prefix, after=after, limit=limit):
            yield laid
        for number in range(self._count if prefix == keys.ACTIVE else 0):
            if number % PAGE == 0:
                await self._travel("list", prefix)
            tenant, job = self._name(number)
            key = keys.active(tenant, self._record.priority, self._deadline_ms(number), job)
            if key not in self._deleted:
                yield Listed(key, 0, self._made_ms + number)

    async def delete(self, key: str, *, by_ms: int | None = None) -> None:
        await super().delete(key, by_ms=by_ms)
        if key.startswith(keys.ACTIVE):
            self._deleted.add(key)

    def _there(self, key: str) -> bytes:
        job = keys.name_of(key)
        if key not in self.data and job.startswith("vid_0"):
            number = int(job.removeprefix("vid_"))
            tenant, _ = self._name(number)
            if key == keys.job(tenant, job):
                fields = {"created_ms": self._made_ms + number, "deadline_ms": self._deadline_ms(number)}
                return self._record.model_copy(update={"id": job, "tenant": tenant, **fields}).encode()
        return super()._there(key)

    def _name(self, number: int) -> tuple[str, str]:
        return f"tenant-{number % self._tenants}", f"vid_{number:026d}"

    def _deadline_ms(self, number: int) -> int | None:
        return self._made_ms + 24 * HOUR_MS + number if self._dated else None


class _Steps(Unrecorded):
    """Counts the Director's steps, and adds up their seconds."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.seconds: defaultdict[str, float] = defaultdict(float)

    def observe(self, metric: Metric, value: float, /, **labels: str) -> None:
        if metric is DIRECTOR_STEP_SECONDS:
            self.counts[labels["step"]] += 1
            self.seconds[labels["step"]] += value


async def measure(store: Backlog, *, seconds: float) -> Found:
    """Let a Director find it all, and work for as long as that and until it has listed twice."""
    idle_mb, steps = _resident_mb("VmRSS"), _Steps()
    office = PacedOffice(now_ms, slice_s=SLICE_S, store=store)
    await office.open(slots=SLOTS, metrics=steps)
    await office.wait_until(_listed(steps, 1), seconds=600)
    began, cpu, ordered, claimed = time.monotonic(), time.process_time(), steps.seconds["order"], steps.counts["claim"]
    await asyncio.sleep(seconds)
    await office.wait_until(_listed(steps, LISTINGS), seconds=600)
    took = time.monotonic() - began
    core, ordering = time.process_time() - cpu, steps.seconds["order"] - ordered
    ended = (steps.counts["claim"] - claimed) / took
    await office.close()
    most_mb = max(idle_mb, _resident_mb("VmHWM"))  # the kernel counts both in steps of its own
    return Found(idle_mb, most_mb, core / took, ordering / took, ended)


def _listed(steps: _Steps, times: int) -> Callable[[], bool]:
    return lambda: steps.counts["list"] >= times


def _resident_mb(field: str) -> float:
    """Of this process alone: `ru_maxrss` begins with what its parent had."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith(field))


def main(arguments: Sequence[str]) -> None:
    """Print what was found as a line of JSON."""
    parser = argparse.ArgumentParser(prog="python -m loadtests.backlog", description="A Director with a backlog.")
    parser.add_argument("--jobs", type=int, required=True)
    parser.add_argument("--tenants", type=int, required=True)
    parser.add_argument("--dated", action="store_true", help="each has a deadline of its own")
    parser.add_argument("--seconds", type=float, default=0.0, help="how long it works at least")
    asked = parser.parse_args(arguments)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    collect_cycles_rarely()
    store = Backlog(asked.jobs, asked.tenants, dated=asked.dated, now_ms=now_ms)
    print(json.dumps(asdict(asyncio.run(measure(store, seconds=asked.seconds)))))


if __name__ == "__main__":
    main(sys.argv[1:])
