"""One part of a campaign on a running Longtake: make each kind of job in peace, strike while clients work, compare."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Mapping
from itertools import islice
from random import Random

from loadtests.kills.calm import make_base, undisturbed
from loadtests.kills.clients import Clients
from loadtests.kills.parts import Part
from loadtests.kills.specs import Base
from loadtests.kills.verify import verify
from loadtests.kills.victims import Blow, pids, strike, strikes
from serving.client import AsyncClient
from serving.errors import LongtakeError
from serving.local.embedded import Embedded
from serving.retention.collect import collect_once
from serving.retention.report import Report
from serving.settings import Retention
from serving.store import keys
from serving.store.base import Store

RECOVERED_WITHIN_S = 300.0
"""If nothing is committed for so long after a blow, the run has failed. Ray may need two starts on a busy machine, and
each gives its processes half a minute before it gives up."""
END_WITHIN_S = 300.0
COLLECT_EVERY_S = 20.0
MARGIN_S = 180.0
"""Less than is allowed in settings, so that something is old in a short run; longer than a client waits for a call."""


class Stuck(Exception):
    """No segment was committed for too long."""


class Campaign:
    """Of one part. `tenants`: their API keys, by name."""

    def __init__(self, embedded: Embedded, store: Store, tenants: Mapping[str, str], part: Part) -> None:
        self._embedded = embedded
        self._store = store
        self._tenants = tenants
        self._part = part
        self._random = Random(part.seed)
        self._strikes = strikes(Random(part.seed))
        self._segments_collected = 0

    async def run(self, count: int, clients: int) -> None:
        """All of it; what was found is in the part then."""
        made = await asyncio.gather(*map(self._base, self._tenants))
        bases = dict(zip(self._tenants, made, strict=True))
        tenant, base = next(iter(bases.items()))
        async with self._client(tenant) as client:
            calm = await undisturbed(client, self._store, tenant, base)
        crowd = Clients(self._embedded.ready.grpc, clients, self._tenants, bases, self._random)
        working = asyncio.create_task(crowd.run())
        collecting = asyncio.create_task(self._collect())
        try:
            await self._strike_all(count)
            crowd.close()
            async with asyncio.timeout(END_WITHIN_S):
                await working
        except (Stuck, TimeoutError) as stuck:
            self._part.stuck.append(str(stuck) or f"not all jobs had ended after {END_WITHIN_S:.0f} s")
        finally:
            working.cancel()
            collecting.cancel()
        seen = crowd.seen
        self._part.reconnects, self._part.failures = seen.reconnects, seen.failures
        await verify(self._store, seen.jobs, calm, self._part)

    async def _base(self, tenant: str) -> Base:
        async with self._client(tenant) as client:
            return await make_base(client)

    async def _strike_all(self, count: int) -> None:
        """Blow after blow, each once a segment was committed after the one before. Raises `Stuck`."""
        struck = self._part.struck
        for both in islice(self._strikes, count):
            await asyncio.sleep(self._random.uniform(0.1, 1.5))
            await self._strike(both)
            name = " and ".join(sorted(blow.name for blow in both))
            began, before = time.monotonic(), await self.committed()
            while await self.committed() <= before:
                if time.monotonic() - began > RECOVERED_WITHIN_S:
                    raise Stuck(f"nothing was committed in {RECOVERED_WITHIN_S:.0f} s after {name}")
                await asyncio.sleep(0.25)
            struck.append((name, time.monotonic() - began))
            print(f"{len(struck):4d}  {name:48s} back after {struck[-1][1]:5.1f} s", file=sys.stderr, flush=True)

    async def _strike(self, both: list[Blow]) -> None:
        """As soon as there are such processes. Raises `Stuck` when there are none for long."""
        root, ends = self._embedded.pid, time.monotonic() + RECOVERED_WITHIN_S
        while not all(pids(root, blow.kind) for blow in both) or not all(
            await asyncio.gather(*(strike(root, blow, self._random) for blow in both))
        ):
            if time.monotonic() > ends:
                raise Stuck(f"nobody to strike for {RECOVERED_WITHIN_S:.0f} s: {both}")
            await asyncio.sleep(0.25)

    async def committed(self) -> int:
        """Segments that were ever committed: those that are there, and those that a collection took."""
        counts = [sum([1 async for _ in self._store.list(keys.segments_of(tenant))]) for tenant in self._tenants]
        return sum(counts) + self._segments_collected

    async def _collect(self) -> None:
        """Collections beside the work."""
        retention = Retention.model_construct(video_ttl_s=None, tenants={}, margin_s=MARGIN_S, cache_ttl_s=3600)
        while True:
            await asyncio.sleep(COLLECT_EVERY_S)
            try:
                report = await collect_once(self._store, retention, now_ms=lambda: time.time_ns() // 1_000_000)
            except LongtakeError as error:
                print(f"collection given up: {error}", file=sys.stderr, flush=True)
                continue
            self.count(report)

    def count(self, report: Report) -> None:
        """A collection has ended."""
        self._part.collections += 1
        self._part.collected += sum(kind.collected.keys for kind in report.kinds.values())
        self._segments_collected += report.of("segments").collected.keys

    def _client(self, tenant: str) -> AsyncClient:
        return AsyncClient(self._embedded.ready.grpc, api_key=self._tenants[tenant])
