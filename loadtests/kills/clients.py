"""Clients that keep a Longtake busy while it is struck, and note all that they see of it.

Each is one of several tenants. Some of their videos they cancel, and some that have ended they delete.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import Literal, TypeVar

from loadtests.kills.specs import SPECS, Base, Spec
from serving.client import ENDED, AsyncClient, CallFailed, FailedPrecondition, NotFound, Unavailable
from serving.gen.longtake.v1 import videos_pb2

_PAUSE_S = 0.3
_CANCELLED, _DELETED = 0.1, 0.1
"""Shares of the videos that are."""
Then = Literal["kept", "cancelled", "deleted"]
T = TypeVar("T")


@dataclass
class Ours:
    """A job that was acknowledged."""

    tenant: str
    spec: Spec
    asked: float
    """When, by `time.monotonic`; so is the next."""
    then: Then = "kept"
    ended: float | None = None


@dataclass
class Seen:
    """What the clients saw."""

    jobs: dict[str, Ours] = field(default_factory=dict)
    reconnects: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    """By status: answers that no client should see."""


class Clients:
    """`count` clients in a closed loop: create, wait, create. `keys` are the tenants' API keys."""

    def __init__(
        self, server: str, count: int, keys: Mapping[str, str], bases: Mapping[str, Base], random: Random
    ) -> None:
        self.seen = Seen()
        self._server = server
        self._count = count
        self._keys = keys
        self._bases = bases
        self._random = random
        self._numbers = itertools.count()
        self._closing = False

    async def run(self) -> None:
        """Until `close`; every job that was acknowledged is waited for."""
        tenants = list(self._keys)
        await asyncio.gather(*(self._live(tenants[number % len(tenants)]) for number in range(self._count)))

    def close(self) -> None:
        """Create no more."""
        self._closing = True

    async def _live(self, tenant: str) -> None:
        async with AsyncClient(self._server, api_key=self._keys[tenant], retries=0) as client:
            while not self._closing:
                await self._one(client, tenant)

    async def _one(self, client: AsyncClient, tenant: str) -> None:
        spec = SPECS[next(self._numbers) % len(SPECS)]
        asked = time.monotonic()
        video = await self._insist(partial(client.create, spec.request(self._bases[tenant])))
        if video is None:
            return
        ours = self.seen.jobs[video.id] = Ours(tenant, spec, asked)
        if self._random.random() < _CANCELLED:
            await asyncio.sleep(self._random.uniform(0.0, 3.0))
            ours.then = "cancelled"
            await self._insist(partial(client.cancel, video.id))
        if await self._ended(client, video) is None:
            return
        ours.ended = time.monotonic()
        if ours.then == "kept" and self._random.random() < _DELETED:
            ours.then = "deleted"
            await self._insist(partial(client.delete, video.id))

    async def _ended(self, client: AsyncClient, video: videos_pb2.Video | None) -> videos_pb2.Video | None:
        while video is not None and video.state not in ENDED:
            await asyncio.sleep(_PAUSE_S)
            video = await self._insist(partial(client.get, video.id))
        return video

    async def _insist(self, call: Callable[[], Awaitable[T]]) -> T | None:
        """The answer, over as many reconnects as it takes; None when the server refused."""
        again = False
        while True:
            try:
                return await call()
            except Unavailable:
                self.seen.reconnects += 1
                again = True
                await asyncio.sleep(_PAUSE_S)
            except FailedPrecondition as error:
                if error.reason != "VIDEO_ENDED":  # a cancellation that came too late
                    self.seen.failures[f"{error.code().name}: {error}"] += 1
                return None
            except NotFound as error:
                if not again:  # else an earlier try deleted it
                    self.seen.failures[f"{error.code().name}: {error}"] += 1
                return None
            except CallFailed as error:
                self.seen.failures[f"{error.code().name}: {error}"] += 1
                return None
