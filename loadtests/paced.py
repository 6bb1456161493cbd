"""A Director with nothing but the Director in it: a store in memory whose every call takes one round trip, and stages
that take no time, or as long as they are told to.

`benchmarks/director.py` measures it on the real clock; its tests let it live on a simulated one, where what a turn
waits for is all that takes time.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
from bisect import bisect_left, bisect_right, insort
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from engines import models
from serving.director.director import Director
from serving.director.served import Served
from serving.errors import Conflict, NotFound, Unavailable
from serving.jobs.epoch import take_epoch
from serving.jobs.ids import new_id
from serving.jobs.record import JobRecord
from serving.jobs.repository import Jobs
from serving.metrics import Recorder, Unrecorded
from serving.plan import plan
from serving.requests import VideoRequest
from serving.segments.manifest import LatentRef, MediaPart
from serving.stage_names import StageName
from serving.stages.contracts import (
    CancelCall,
    ConditionCall,
    ImageCall,
    ImageResult,
    IngestCall,
    IngestResult,
    InputsCall,
    InputsResult,
    PromptCall,
    PromptResult,
    RenderCall,
    RenderResult,
    SliceCall,
    SliceResult,
    TakeCall,
    TextCall,
)
from serving.stages.interface import Ref
from serving.store import keys
from serving.store.base import Listed, Versioned
from serving.store.lanes import Lane, lane_of

PAGE = 1000
_MODEL = "sprite-2"
_DIGEST = "0" * 64


class PacedStore:
    """Implements `serving.store.base.Store`; linearizable. Each call takes effect after `round_trip_s`."""

    url = "paced://memory"

    def __init__(self, round_trip_s: float, now_ms: Callable[[], int]) -> None:
        self.round_trip_s = round_trip_s
        self.calls: Counter[tuple[str, str]] = Counter()
        """By name and by what their keys begin with."""
        self.fault: Callable[[str, str], Exception | None] = lambda _call, _key: None
        """What a call of this name on this key raises."""
        self.hangs: set[str] = set()
        """Keys of which nothing is ever answered."""
        self.data: dict[str, bytes] = {}
        self._keys: list[str] = []
        self._modified: dict[str, int] = {}
        self._now_ms = now_ms
        self._lanes = {lane: asyncio.Semaphore(lane.value) for lane in Lane}
        """The shipped stores have so many threads."""

    def lay(self, key: str, data: bytes) -> None:
        """Put an object here at once, or another one in its place."""
        if key not in self.data:
            insort(self._keys, key)
        self.data[key] = data
        self._modified[key] = self._now_ms()

    def count(self, prefix: str) -> int:
        """How many keys begin with this, as of now."""
        return bisect_left(self._keys, prefix + "\uffff") - bisect_left(self._keys, prefix)

    async def get(self, key: str) -> Versioned:
        await self._travel("get", key)
        data = self._there(key)
        return Versioned(data, _version(data))

    async def get_range(self, key: str, start: int, length: int) -> bytes:
        return (await self.get(key)).data[start : start + length]

    async def put_if_absent(self, key: str, data: bytes | Path) -> bool:
        assert isinstance(data, bytes)
        await self._travel("put", key)
        if key in self.data:
            return False
        self.lay(key, data)
        return True

    async def swap(self, key: str, data: bytes, expected: str) -> str:
        await self._travel("swap", key)
        if _version(self._there(key)) != expected:
            raise Conflict(key)
        self.lay(key, data)
        return _version(data)

    async def list(self, prefix: str, *, after: str = "", limit: int | None = None) -> AsyncIterator[Listed]:
        left = limit
        while left is None or left > 0:
            await self._travel("list", prefix)
            start = max(bisect_left(self._keys, prefix), bisect_right(self._keys, after))
            page = self._keys[start : start + (PAGE if left is None else min(PAGE, left))]
            for key in page:
                if not key.startswith(prefix):
                    return
                yield Listed(key, len(self.data[key]), self._modified[key])
            if not page:
                return
            after, left = page[-1], None if left is None else left - len(page)

    async def stat(self, key: str) -> Listed | None:
        await self._travel("stat", key)
        return Listed(key, len(self.data[key]), self._modified[key]) if key in self.data else None

    async def touch(self, key: str) -> None:
        await self._travel("touch", key)
        self._there(key)
        self._modified[key] = self._now_ms()

    async def delete(self, key: str, *, by_ms: int | None = None) -> None:
        await self._travel("delete", key)
        if by_ms is not None and self._now_ms() > by_ms:
            raise Unavailable(f"it is too late now to delete {key}", retry_after_s=1.0)
        if self.data.pop(key, None) is not None:
            del self._keys[bisect_left(self._keys, key)]

    async def close(self) -> None:
        """Nothing is held open."""

    def _there(self, key: str) -> bytes:
        if key not in self.data:
            raise NotFound(key)
        return self.data[key]

    async def _travel(self, call: str, key: str) -> None:
        self.calls[call, key.partition("/")[0]] += 1
        async with self._lanes[lane_of(key)]:
            if key in self.hangs:
                await asyncio.Event().wait()
            await asyncio.sleep(self.round_trip_s)
        error = self.fault(call, key)
        if error is not None:
            raise error


class PacedStages:
    """Implements `serving.stages.interface.Stages`. Each slice takes `slice_s` and does all steps of its segment."""

    def __init__(self, slice_s: float = 0.0) -> None:
        self.slice_s = slice_s
        self.began: dict[str, float] = {}
        """When each job's first slice began, in the loop's seconds."""

    async def write_prompt(self, call: PromptCall) -> PromptResult:
        return PromptResult(("a red square at column 1, row 1 moves right under a white sky, the camera holds",))

    def embed_text(self, call: TextCall) -> Ref:
        return Ref(call)

    async def read_inputs(self, call: InputsCall) -> InputsResult:
        return InputsResult()

    async def ingest(self, call: IngestCall) -> IngestResult:
        raise NotImplementedError

    def condition(self, call: ConditionCall, text: Ref) -> Ref:
        return Ref(call)

    async def run_slice(self, call: SliceCall, conditions: Ref) -> SliceResult:
        self.began.setdefault(call.job, asyncio.get_running_loop().time())
        await asyncio.sleep(self.slice_s)
        return SliceResult(
            call.steps,
            done=True,
            replica="replica-1",
            latents=LatentRef(blob=_DIGEST, start=0, count=5),
            from_step=0,
            step_seconds=self.slice_s,
        )

    def take_latents(self, call: TakeCall) -> Ref:
        return Ref(call)

    async def cancel(self, call: CancelCall) -> None:
        return None

    async def render(self, call: RenderCall, latents: Ref) -> RenderResult:
        part = MediaPart(blob=_DIGEST, size=1, fragment_sizes=(1,), fragment_frames=(17,))
        return RenderResult(frames=17, init=_DIGEST, media=part, thumbnail=_DIGEST, seconds={})

    async def render_image(self, call: ImageCall, latents: Ref) -> ImageResult:
        raise NotImplementedError

    async def replicas(self) -> Mapping[StageName, int]:
        return {}


class PacedOffice:
    """A store, stages, and one Director at a time."""

    def __init__(
        self,
        now_ms: Callable[[], int],
        *,
        round_trip_s: float = 0.005,
        slice_s: float = 0.0,
        store: PacedStore | None = None,
    ) -> None:
        self.now_ms = now_ms
        self.store = store or PacedStore(round_trip_s, now_ms)
        self.stages = PacedStages(slice_s)
        self.jobs = Jobs(self.store)
        self._life: asyncio.Task[None] | None = None

    async def open(
        self,
        *,
        slots: int,
        servers: int = 1,
        collect: Callable[[], Awaitable[None]] | None = None,
        metrics: Recorder | None = None,
    ) -> Director:
        """Start a Director."""
        numbers = itertools.count()
        director = Director(
            store=self.store,
            jobs=Jobs(self.store),
            epoch=await take_epoch(self.store),
            # No rendering takes time, so none waits for another one.
            models={_MODEL: Served(self.stages, models.family(_MODEL), slots, denoisers=servers, renders=slots)},
            slice_s=5.0,
            metrics=metrics or Unrecorded(),
            now_ms=self.now_ms,
            incident=lambda: f"incident-{next(numbers)}",
            collect=collect,
        )
        self._life = asyncio.create_task(director.run())
        return director

    async def close(self) -> None:
        """End the Director."""
        if self._life is not None:
            self._life.cancel()
            await asyncio.wait([self._life])

    async def ended(self) -> None:
        """Wait until the Director has ended by itself."""
        assert self._life is not None
        await asyncio.wait([self._life])

    def lay(self, tenant: str, **fields: Any) -> JobRecord:
        """A job (`queued`) as it lies in the store, at once."""
        record = queued(tenant, self.now_ms(), **fields)
        self.store.lay(keys.active(tenant, record.priority, record.deadline_ms, record.id), b"")
        self.write(record)
        return record

    def write(self, record: JobRecord) -> None:
        """The record as it is now, at once."""
        self.store.lay(keys.job(*record.key), record.encode())

    async def wait_until(self, holds: Callable[[], bool], *, seconds: float = 60.0) -> float:
        """The seconds until something holds. Raises `TimeoutError`."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        async with asyncio.timeout(seconds):
            while not holds():  # noqa: ASYNC110  (nobody tells)
                await asyncio.sleep(0.01)
        return loop.time() - began

    def active(self) -> int:
        """How many jobs wait or run."""
        return self.store.count(keys.ACTIVE)


def queued(tenant: str, created_ms: int, **fields: Any) -> JobRecord:
    """A job of a second in two steps."""
    request = VideoRequest(
        model=_MODEL, aspect_ratio="1:1", prompt="a circle", seconds=1, steps=2, seed=3, resolution="480p"
    )
    planned = plan(request, models.family(_MODEL).capabilities, model_digest=_DIGEST, seed=3)
    return JobRecord(
        **{
            "id": new_id("vid_"),
            "tenant": tenant,
            "request": request,
            "plan": planned,
            "created_ms": created_ms,
            "version": 1,
            "nonce": "1",
            **fields,
        }
    )


def _version(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
