"""A bounded number of places that tenants take in turn, so that no tenant's work waits behind all of another's.

What takes memory, threads or processes while it runs stands in such a line: messages that are read (`frontdoor/edge`),
uploads and downloads (`files`), fetches and look-ups of names, children that decode (`media`).
"""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict, deque

from serving.errors import ResourceExhausted


class FairPlaces:
    """`places` in all, `each` of one tenant; of one tenant `waiting` may wait, and the next is refused."""

    def __init__(self, what: str, *, places: int, each: int, waiting: int, retry_s: float = 1.0) -> None:
        """`what`: the work in the plural, for messages. `retry_s`: seconds after which a refused one may come back."""
        self._what = what
        self._places = places
        self._each = each
        self._most_waiting = waiting
        self._retry_s = retry_s
        self._taken = 0
        self._of: Counter[str] = Counter()
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()
        """Those that wait, by tenant; the tenant that was served last stands last."""

    def place(self, tenant: str) -> Place:
        """Wait for a place, and have it within an `async with`. Raises `ResourceExhausted` where too many wait
        already.
        """
        return Place(self, tenant)

    async def take(self, tenant: str) -> None:
        """As `place`, for whoever calls `give` himself."""
        if self._taken < self._places and self._of[tenant] < self._each and tenant not in self._waiting:
            self._count(tenant, 1)
            return
        line = self._waiting.setdefault(tenant, deque())
        if len(line) >= self._most_waiting:
            self._tidy(tenant)
            raise ResourceExhausted(
                f"too many {self._what} at once: {self._each} of yours may run and {self._most_waiting} may wait; send "
                "this one again when another has ended",
                retry_after_s=self._retry_s,
                reason="TOO_MANY_AT_ONCE",
            )
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        line.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # the place was given, and nobody comes to take it
                self.give(tenant)
            elif turn in line:
                line.remove(turn)
                self._tidy(tenant)
            raise

    def give(self, tenant: str) -> None:
        """Give a place back; whose turn it is gets it."""
        self._count(tenant, -1)
        while self._taken < self._places:
            following = next((name for name in self._waiting if self._of[name] < self._each), None)
            if following is None:
                return
            turn = self._waiting[following].popleft()
            self._waiting.move_to_end(following)
            self._tidy(following)
            if not turn.done():
                self._count(following, 1)
                turn.set_result(None)

    def _count(self, tenant: str, change: int) -> None:
        self._taken += change
        self._of[tenant] += change
        if not self._of[tenant]:
            del self._of[tenant]

    def _tidy(self, tenant: str) -> None:
        if not self._waiting.get(tenant, True):
            del self._waiting[tenant]


class Place:
    """One place, for one block. It is a class, and no generator, for every call at the front door takes two."""

    __slots__ = ("_places", "_tenant")

    def __init__(self, places: FairPlaces, tenant: str) -> None:
        self._places = places
        self._tenant = tenant

    async def __aenter__(self) -> None:
        await self._places.take(self._tenant)

    async def __aexit__(self, *_: object) -> None:
        self._places.give(self._tenant)
