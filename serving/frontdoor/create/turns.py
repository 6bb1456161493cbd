"""When foreign media are fetched and decoded: a few at once, tenants in turn. `intake.py` does it.

A picture may take its child ten seconds of CPU to refuse, and a URL fifteen to answer: without turns, one tenant's
would keep all others' waiting. A picture that was refused for what it is, is known for a while, so that it costs
nothing when it comes again. One that was too slow is known for as long as a burst of it may last: it may have been the
machine, which has less to do later.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from serving.errors import InvalidArgument
from serving.fair_places import FairPlaces
from serving.frontdoor.follow.recent import Recent
from serving.media.sandbox import TooSlow

CHILDREN = 3
"""Children that decode at once, for which the decoder has places. One tenant has two of them."""
KNOWN_S, SLOW_KNOWN_S = 300.0, 20.0
_KNOWN_BYTES = 4 * 1024 * 1024


class Turns:
    """One per front-door process."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` is monotonic, in seconds."""
        self._clock = clock
        self._holding = FairPlaces("pictures and videos that are taken in", places=16, each=4, waiting=2000)
        self._decoding = FairPlaces("pictures and videos that are looked at", places=CHILDREN, each=2, waiting=32)
        self._fetching = FairPlaces("URLs that are fetched", places=8, each=2, waiting=32)
        self._refused: Recent[tuple[str, str], tuple[float, InvalidArgument]] = Recent(_KNOWN_BYTES)

    @asynccontextmanager
    async def holding(self, tenant: str) -> AsyncIterator[None]:
        """A medium may be in memory, or in a file of its own, within. Who waits here holds nothing."""
        async with self._holding.place(tenant):
            yield

    @asynccontextmanager
    async def fetching(self, tenant: str) -> AsyncIterator[None]:
        """A URL may be fetched within. Raises `ResourceExhausted` where too many of the tenant's wait."""
        async with self._fetching.place(tenant):
            yield

    @asynccontextmanager
    async def decoding(self, tenant: str) -> AsyncIterator[None]:
        """A child may decode within. Raises `ResourceExhausted` where too many of the tenant's wait."""
        async with self._decoding.place(tenant):
            yield

    @asynccontextmanager
    async def checking(self, tenant: str, data: bytes, field: str) -> AsyncIterator[None]:
        """As `decoding`, for this picture. What is refused within is refused at once the next time."""
        key = (tenant, hashlib.sha256(data).hexdigest())
        self._check_known(key, field)
        async with self.decoding(tenant):
            self._check_known(key, field)  # it may have been refused while this one waited
            try:
                yield
            except InvalidArgument as error:
                seconds = SLOW_KNOWN_S if isinstance(error, TooSlow) else KNOWN_S
                known = type(error)(field, error.description)
                self._refused.put(key, (self._clock() + seconds, known), len(error.description))
                raise

    def _check_known(self, key: tuple[str, str], field: str) -> None:
        known = self._refused.get(key)
        if known is not None and self._clock() < known[0]:
            raise type(known[1])(field, known[1].description)
