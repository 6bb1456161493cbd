"""Clients that keep a Longtake busy while it is struck, and note all that they see of it."""

from __future__ import annotations

import asyncio
import itertools
import secrets
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from serving.client import ENDED, AsyncClient, CallFailed, Unavailable
from serving.gen.longtake.v1 import videos_pb2

PROMPT = "a red circle moves right over a white background"
_PAUSE_S = 0.3
T = TypeVar("T")


@dataclass(frozen=True)
class Spec:
    """A job that is made again and again: equal specs must give equal bytes."""

    seconds: int
    steps: int
    seed: int

    def request(self, key: str) -> videos_pb2.CreateVideoRequest:
        """A create under this idempotency key."""
        return videos_pb2.CreateVideoRequest(
            request_id=key, prompt=PROMPT, aspect_ratio="1:1", seconds=self.seconds, steps=self.steps, seed=self.seed
        )


SPECS = (Spec(1, 50, 11), Spec(2, 50, 12), Spec(4, 40, 13), Spec(6, 50, 14))


@dataclass
class Seen:
    """What the clients saw."""

    acknowledged: dict[str, Spec] = field(default_factory=dict)
    ended: dict[str, videos_pb2.Video] = field(default_factory=dict)
    reconnects: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    """By status: answers that no client should see."""


class Clients:
    """`count` clients in a closed loop: create, wait, create."""

    def __init__(self, server: str, count: int) -> None:
        self.seen = Seen()
        self._server = server
        self._count = count
        self._numbers = itertools.count()
        self._closing = False

    async def run(self) -> None:
        """Until `close`; every job that was acknowledged is waited for."""
        async with AsyncClient(self._server, retries=0) as client:
            await asyncio.gather(*(self._one(client) for _ in range(self._count)))

    def close(self) -> None:
        """Create no more."""
        self._closing = True

    async def _one(self, client: AsyncClient) -> None:
        while not self._closing:
            spec = SPECS[next(self._numbers) % len(SPECS)]
            request = spec.request(secrets.token_hex(8))
            video = await self._insist(partial(client.create, request))
            if video is None:
                continue
            self.seen.acknowledged[video.id] = spec
            while video is not None and video.state not in ENDED:
                await asyncio.sleep(_PAUSE_S)
                video = await self._insist(partial(client.get, video.id))
            if video is not None:
                self.seen.ended[video.id] = video

    async def _insist(self, call: Callable[[], Awaitable[T]]) -> T | None:
        """The answer, over as many reconnects as it takes; None when the server refused."""
        while True:
            try:
                return await call()
            except Unavailable:
                self.seen.reconnects += 1
                await asyncio.sleep(_PAUSE_S)
            except CallFailed as error:
                self.seen.failures[f"{error.code().name}: {error}"] += 1
                return None
