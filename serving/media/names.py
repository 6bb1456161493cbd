"""Looks the hosts of URLs up: in threads of its own, tenants in turn. `fetch.py` asks.

The system's resolver cannot be interrupted: a name whose servers do not answer holds its thread for half a minute, also
when nobody waits for it any more. So a look-up has its place until its thread is free again, and a tenant whose names
nobody answers waits behind its own, while others' are looked up.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Any, TypeVar

from serving.errors import ResourceExhausted
from serving.fair_places import FairPlaces

T = TypeVar("T")
LOOK_UPS, EACH = 16, 3
"""Names that are looked up at once, and those of one tenant among them."""
LOOK_UP_S = 10.0
"""Long enough for a second name server to answer where the first one is dead."""


class UnansweredError(OSError):
    """The name servers of a host said nothing in time."""


class Resolver:
    """One per front-door process."""

    def __init__(self, *, patience_s: float = LOOK_UP_S) -> None:
        """`patience_s`: seconds that a caller waits for its turn at most, and then for the answer."""
        self._patience_s = patience_s
        self._places = FairPlaces("names of hosts that are looked up", places=LOOK_UPS, each=EACH, waiting=64)

    async def __call__(self, tenant: str, host: str, port: int) -> list[str]:
        """Addresses. Raises `UnansweredError`, `OSError` for what there is not or can be no name, and
        `ResourceExhausted` where all of the tenant's places are held by names that nobody answers.
        """
        try:
            async with asyncio.timeout(self._patience_s):
                await self._places.take(tenant)
        except TimeoutError as error:
            raise ResourceExhausted(
                f"the name servers of {EACH} of your URLs' hosts do not answer: send this again when those have ended",
                retry_after_s=self._patience_s,
                reason="TOO_MANY_AT_ONCE",
            ) from error
        look_up = partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
        answer = asyncio.wrap_future(_in_a_thread(look_up))
        answer.add_done_callback(partial(self._free, tenant))
        try:
            async with asyncio.timeout(self._patience_s):
                found = await asyncio.shield(answer)
        except TimeoutError as error:
            raise UnansweredError(f"the name servers of {host[:80]!r} do not answer") from error
        except UnicodeError as error:  # an empty part between dots, or one of more than 63 letters
            raise OSError(f"{host[:80]!r} is no host name") from error
        return [str(address[0]) for *_, address in found]

    def _free(self, tenant: str, answer: asyncio.Future[Any]) -> None:
        if not answer.cancelled():
            answer.exception()  # nobody may be left to see it
        self._places.give(tenant)


def _in_a_thread(work: Callable[[], T]) -> Future[T]:
    """A thread that the end of the process does not wait for, as it would for an executor's."""
    answer: Future[T] = Future()

    def run() -> None:
        try:
            answer.set_result(work())
        except BaseException as error:  # noqa: BLE001  (whoever waits gets it)
            answer.set_exception(error)

    threading.Thread(target=run, name="names", daemon=True).start()
    return answer
