"""The front door's line to the Director: hints only, nothing is lost when it is down.

`wake` tells that a job is new or was asked to cancel. One Watch stream per process brings what the Director writes into
the `RecordCache`. `server.py` starts and closes it. The Director is found by the setting `director.address`, else as
`longtake up` wrote it to the store; both calls carry the installation's token.

Both calls go over one channel. Whichever finds that the Director has moved opens another and closes it, and gRPC then
cancels what still runs there. That ends a call and never the task that made it: only `close` does.
"""

from __future__ import annotations

import asyncio
import random

import grpc
from pydantic import ValidationError

from serving.errors import LongtakeError
from serving.frontdoor.follow.records import RecordCache
from serving.frontdoor.follow.views import LiveProgress
from serving.gen.longtake.internal.v1 import director_pb2, director_pb2_grpc
from serving.jobs.record import JobRecord
from serving.logs import logger
from serving.metrics import WAKE_FAILURES, WATCH_BREAKS, WATCH_CONNECTED, Recorder
from serving.runtime_keys import TOKEN_METADATA, director_address, shared_secret
from serving.store.base import Store
from serving.store.keys import DIRECTOR_TOKEN

MOST_WAKES = 256
"""Hints on their way at once. What is beyond is dropped: the Director lists the store from time to time."""
WAKE_TIMEOUT_S = 5.0
SILENCE_S = 3.0
"""A stream that brought no heartbeat for so long is taken for dead."""
BACKOFF_S = (0.1, 2.0)
_CHANNEL_OPTIONS = (
    ("grpc.max_receive_message_length", 64 * 1024 * 1024),
    ("grpc.enable_retries", 0),
    # The Director stands in the same installation. The environment's proxy does not, and would read the token.
    ("grpc.enable_http_proxy", 0),
)


class DirectorLink:
    """One per front-door process."""

    def __init__(self, store: Store, cache: RecordCache, metrics: Recorder, *, address: str | None) -> None:
        """`address`: the setting; None to look in the store."""
        self._store = store
        self._cache = cache
        self._metrics = metrics
        self._address = address
        self._token = ""
        self._channel: grpc.aio.Channel | None = None
        self._channel_address = ""
        self._cursor = 0
        self._epoch = 0
        self._wakes: set[asyncio.Task[None]] = set()
        self._watching: asyncio.Task[None] | None = None
        self._log = logger("director_link")

    async def start(self) -> None:
        """Begin to watch; returns at once, whether or not there is a Director."""
        self._token = await shared_secret(self._store, DIRECTOR_TOKEN)
        self._metrics.set(WATCH_CONNECTED, 0)
        self._watching = asyncio.create_task(self._follow(), name="director-watch")

    async def close(self) -> None:
        """Stop watching and let the last hints go."""
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.wait([self._watching])
        if self._wakes:
            _, late = await asyncio.wait(self._wakes, timeout=1.0)
            for wake in late:
                wake.cancel()
        if self._channel is not None:
            await self._channel.close()

    def wake(self, tenant: str, job: str) -> None:
        """Tell the Director of a job. Never waits, never fails: the store has the truth."""
        if len(self._wakes) >= MOST_WAKES:
            self._metrics.add(WAKE_FAILURES, cause="too_many")
            return
        task = asyncio.create_task(self._wake(tenant, job))
        self._wakes.add(task)
        task.add_done_callback(self._wakes.discard)

    async def _wake(self, tenant: str, job: str) -> None:
        try:
            stub = await self._stub()
            if stub is None:
                self._metrics.add(WAKE_FAILURES, cause="no_director")
                return
            request = director_pb2.WakeRequest(tenant=tenant, job=job)
            await stub.Wake(request, metadata=self._metadata(), timeout=WAKE_TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            self._metrics.add(WAKE_FAILURES, cause=error.code().name)
            self._log.warning("wake failed", job=job, code=error.code().name, details=error.details())
        except LongtakeError as error:
            self._metrics.add(WAKE_FAILURES, cause="store")
            self._log.warning("wake failed", job=job, details=error.message)
        except asyncio.CancelledError:
            if _asked_to_end():
                raise
            self._metrics.add(WAKE_FAILURES, cause="moved")
        except Exception as error:  # noqa: BLE001  (a hint that fails by a fault of ours is heard of, too)
            self._metrics.add(WAKE_FAILURES, cause="fault")
            self._log.error("wake failed", job=job, exc_info=error)

    async def _follow(self) -> None:
        try:
            await self._watch_forever()
        finally:
            self._metrics.set(WATCH_CONNECTED, 0)
            self._log.info("not watching the Director any more")

    async def _watch_forever(self) -> None:
        delay = BACKOFF_S[0]
        cause = ""
        while True:
            found = await self._watched()
            if not found:
                delay, cause = BACKOFF_S[0], ""
                continue
            self._metrics.set(WATCH_CONNECTED, 0)
            if found != cause:
                self._metrics.add(WATCH_BREAKS, cause=found)
                self._log.warning("no word from the Director", cause=found)
                cause = found
            await asyncio.sleep(delay * random.uniform(0.5, 1.0))  # noqa: S311  (spreads reconnects, no secret)
            delay = min(delay * 2, BACKOFF_S[1])

    async def _watched(self) -> str:
        """One stream. Empty if it brought something and ended by itself, else what is in the way."""
        try:
            return "" if await self._watch_once() else "no_director"
        except grpc.aio.AioRpcError as error:
            self._channel_address = ""  # connect anew: a Service may lead to another Director by now
            return error.code().name
        except TimeoutError:
            self._channel_address = ""
            return "silent"
        except LongtakeError:
            return "store"
        except asyncio.CancelledError:
            if _asked_to_end():
                raise
            return "moved"
        except Exception as error:  # noqa: BLE001  (without a watch, every poll is a read until the next start)
            self._log.error("the watch of the Director failed", exc_info=error)
            return "fault"

    async def _watch_once(self) -> bool:
        """One stream, until it ends by itself; False when it brought nothing."""
        stub = await self._stub()
        if stub is None:
            return False
        request = director_pb2.WatchRequest(cursor=self._cursor, epoch=self._epoch)
        call = stub.Watch(request, metadata=self._metadata())
        heard = False
        try:
            while True:
                # Not `wait_for`: in Python 3.11 it may swallow a cancellation, and `close` would wait for ever.
                async with asyncio.timeout(SILENCE_S):
                    message = await call.read()
                if not isinstance(message, director_pb2.WatchResponse):
                    return heard
                self._hear(message)
                heard = True
        finally:
            call.cancel()

    def _hear(self, message: director_pb2.WatchResponse) -> None:
        if message.epoch != self._epoch or not message.continuous:
            self._cache.forget_running()
            self._log.info("watching the Director", epoch=message.epoch)
        for event in message.events:
            self._apply(event)
        if message.HasField("places"):
            places = {(place.tenant, place.job): place for place in message.places.jobs}
            held = {key for key, place in places.items() if place.held_up}
            whys = {key: place.why for key, place in places.items()}
            self._cache.ranked(whys, held, tuple(message.places.models_away))
        # Last: a message that could not be taken in is told again.
        self._epoch, self._cursor = message.epoch, message.cursor
        self._cache.vouch()
        self._metrics.set(WATCH_CONNECTED, 1)

    def _apply(self, event: director_pb2.JobEvent) -> None:
        key = (event.tenant, event.job)
        if not event.record:
            progress = LiveProgress(event.stage, event.steps_done, event.segment_index, event.preview)
            self._cache.advance(key, event.version, progress)
            return
        try:
            self._cache.put(JobRecord.decode(event.record))
        except ValidationError as error:
            self._log.error("a record that this version cannot read", job=event.job, details=str(error))
            self._cache.missed(key)

    async def _stub(self) -> director_pb2_grpc.DirectorAsyncStub | None:
        """A stub on the Director's present address; None while nobody wrote one."""
        before = self._channel
        address = self._address or await director_address(self._store)
        if address is None:
            return None
        # Whoever replaced the channel meanwhile may have read a newer address than this one.
        if self._channel is None or (self._channel is before and address != self._channel_address):
            old, self._channel = self._channel, grpc.aio.insecure_channel(address, options=_CHANNEL_OPTIONS)
            self._channel_address = address
            if old is not None:
                await old.close()
        stub: director_pb2_grpc.DirectorAsyncStub = director_pb2_grpc.DirectorStub(self._channel)
        return stub

    def _metadata(self) -> tuple[tuple[str, str], ...]:
        return ((TOKEN_METADATA, self._token),)


def _asked_to_end() -> bool:
    """Whether this task was cancelled, and not only the call that it waits for."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
