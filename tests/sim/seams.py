"""Where what ships meets the simulation: a clock, randomness, logs, and what the next version writes. Nothing else is
replaced.

What takes its clock, or its engine's thread, as an argument is handed the simulated one by `world.py`. `installed` puts
the other replacements in for the time of one world. They are process-wide, so one world runs at a time.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import random
import secrets
import sys
import types
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial, wraps
from typing import ParamSpec, TypeVar
from unittest import mock

import structlog

from serving.frontdoor.admission import forecast
from serving.frontdoor.create import create
from serving.frozen import Stored
from serving.jobs.ids import new_id
from serving.jobs.record import JobRecord
from serving.jobs.repository import Created, Jobs
from serving.segments.manifest import SegmentManifest
from serving.store import sweeping
from tests.sim import next_version
from tests.sim.loop import SimLoop

LOOK_EVERY_S = 0.25
"""Whoever waits for another's sweep looks so often, not twenty times a second: that was a tenth of all that is done."""

P = ParamSpec("P")
T = TypeVar("T")

_decode = JobRecord.decode.__func__  # type: ignore[attr-defined]
_encode = JobRecord.encode


@contextmanager
def installed(loop: SimLoop, seed: str) -> Iterator[None]:
    """See the module."""
    drawn = random.Random(f"{seed}/secrets")
    clock = types.SimpleNamespace(monotonic=loop.time)
    records: dict[bytes, JobRecord] = {}
    written: dict[tuple[int, bool], tuple[JobRecord, bytes]] = {}
    create_job, encode_manifest, unknown_fields = Jobs.create, SegmentManifest.encode, Stored.unknown

    def decode(cls: type[JobRecord], data: bytes) -> JobRecord:
        """Records never change, and the same bytes are read again and again."""
        found = records.get(data)
        if found is None:
            found = records[data] = _decode(cls, data)
        return found

    def encode(self: JobRecord) -> bytes:
        """Whoever writes one, tells of it and keeps it encodes it again. By id: what is held here keeps its own."""
        as_who = id(self), loop.current.newer
        found = written.get(as_who)
        if found is None:
            data = _encode(self)
            found = written[as_who] = self, next_version.grown_record(data) if loop.current.newer else data
        return found[1]

    def manifest(self: SegmentManifest) -> bytes:
        """What was read keeps its bytes."""
        data = encode_manifest(self)
        return next_version.grown_manifest(data) if loop.current.newer and self._as_read is None else data

    async def created(self: Jobs, record: JobRecord) -> Created:
        return await create_job(self, next_version.asked(record) if loop.current.newer else record)

    def unknown(self: Stored) -> Iterator[str]:
        """The next version knows its own fields."""
        ours = loop.current.newer
        return (name for name in unknown_fields(self) if not ours or next_version.NEXT not in name)

    with ExitStack() as stack:
        put = partial(_put, stack)
        put(secrets, "token_hex", lambda count=16: drawn.randbytes(count).hex())
        put(secrets, "token_bytes", lambda count=16: drawn.randbytes(count))
        put(secrets, "randbits", drawn.getrandbits)
        put(create, "new_id", partial(new_id, random=drawn.randbytes))
        put(forecast, "time", clock)
        put(sweeping, "_LOOK_EVERY_S", LOOK_EVERY_S)
        put(JobRecord, "decode", classmethod(decode))
        put(JobRecord, "encode", encode)
        put(SegmentManifest, "encode", manifest)
        put(Jobs, "create", created)
        put(Stored, "unknown", unknown)
        put(asyncio.tasks._all_tasks, "add", lambda task: None)  # type: ignore[attr-defined]  # the loop has them all
        random.seed(f"{seed}/random")
        stack.callback(loop.forget)
        yield


def collected(played: Callable[P, T]) -> Callable[P, T]:
    """Around the function that makes a world and plays it: the world is collected when that has let go of it.

    Neither sooner, for then parts of it would run at a moment that no seed decides, nor later. Coroutines that never
    ended are closed by that; what they say to it is of no interest.
    """

    @wraps(played)
    def around(*args: P.args, **kwargs: P.kwargs) -> T:
        gc.disable()
        try:
            return played(*args, **kwargs)
        finally:
            with mock.patch.object(sys, "unraisablehook", _unheard), warnings.catch_warnings():
                warnings.simplefilter("ignore", RuntimeWarning)
                gc.collect()
            gc.enable()

    return around


def _unheard(unraisable: object) -> None:
    """It keeps nothing: a mock would keep the error, and with it the world, until nobody ignores its warnings."""


def prepare() -> None:
    """Once per process: no logs, for a world has its own trace; and what is imported is never searched for garbage."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    gc.collect()
    gc.freeze()


@contextmanager
def prepared() -> Iterator[None]:
    """`prepare`, taken back afterwards."""
    before = structlog.get_config()
    prepare()
    try:
        yield
    finally:
        structlog.configure(**before)
        gc.unfreeze()


def _put(stack: ExitStack, where: object, name: str, what: object) -> None:
    stack.enter_context(mock.patch.object(where, name, what))
