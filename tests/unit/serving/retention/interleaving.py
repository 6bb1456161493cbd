"""Everybody at once: creates, extensions, work, deletions and collections, interleaved at every call to the store.

Whoever drives it (a seed, or hypothesis) decides who begins what, whose call goes on next, and when hours pass. Time
stands still only while a call to the front door is under way, for such a call is shorter than the margin.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from serving.errors import AlreadyExists, Conflict, Corrupt, FailedPrecondition, NotFound
from serving.jobs.record import JobRecord, JobState
from serving.retention.collect import collect_once
from serving.settings import Retention
from tests.unit.serving.retention.clocked_store import IN_MEMORY, Clock, ClockedStore, Turns
from tests.unit.serving.retention.stored_videos import TENANT, StoredVideos

RETENTION = Retention(cache_ttl_s=3 * 3600)


class Interleaving:
    """See the module. All methods but `close` are coroutines of one event loop."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(dir=IN_MEMORY)
        self.clock = Clock()
        self.turns = Turns()
        self.store = ClockedStore(Path(self._folder.name), self.clock)
        self.store.turns = self.turns
        self.stored = StoredVideos(self.store, self.clock)
        self.videos: list[str] = []
        """Ids that were acknowledged."""
        self.made = 0
        self.wrong: list[str] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._at_the_door = 0

    def close(self) -> None:
        """Remove the store."""
        self._folder.cleanup()

    # ── who begins what ─────────────────────────────────────────────────────────────────────────────────────────

    async def create(self, parent: int, *, seed: int, picture: int, key: int, seconds: int, expires: bool) -> None:
        """A video, or an extension of one that is there; few seeds and pictures, so that bytes are often the same."""
        extended = self.videos[parent % len(self.videos)] if self.videos and parent % 3 else ""
        fields: dict[str, Any] = {
            "seconds": seconds,
            "seed": seed,
            "picture": b"picture %d" % picture if picture else b"",
            "key": f"key {key}" if key else "",
            "expires_ms": self.clock.ms + 7_200_000 if expires else None,
        }
        await self._begin(self._create(extended, fields), f"create {len(self.videos)}")

    async def delete(self, video: int) -> None:
        """A video, if it has ended."""
        if self.videos:
            await self._begin(self._delete(self.videos[video % len(self.videos)]), "delete")

    async def upload(self, content: int, *, expires: bool) -> None:
        """A file, of the same few pictures."""
        await self._begin(self._upload(b"picture %d" % content, expires), "upload")

    async def collect(self) -> None:
        """A collection; two at most run at once."""
        if sum(task.get_name() == "collect" for task in self._tasks) < 2:
            await self._begin(self._collect(), "collect")

    async def step(self, pick: int) -> None:
        """One waiting call of somebody goes on."""
        if self.turns.waiting:
            await self.turns.give(pick)

    async def pass_time(self, hours: float) -> None:
        """Unless somebody stands at the front door."""
        if not self._at_the_door:
            self.clock.advance(hours)

    async def finish(self, pick: int = 0) -> None:
        """Until nobody has anything left to do."""
        while self._tasks:
            await self.turns.settle()
            if self.turns.waiting:
                await self.turns.give(pick)

    # ── what must be true ───────────────────────────────────────────────────────────────────────────────────────

    async def check(self) -> None:
        """Every living video is whole, and every unfinished one is on the active list. Nobody may be at work."""
        self.store.turns = None
        active = {job.id async for job in self.stored.jobs.active()}
        for video in self.videos:
            try:
                record = await self.stored.jobs.get(TENANT, video)
            except NotFound:
                continue
            if not record.state.terminal and record.id not in active:
                self.wrong.append(f"{video} waits and is not active")
            await self._watched(self.stored.whole(video), f"living {video}")
        async for entry in self.store.list(f"t/{TENANT}/files/"):
            file = await self._file(entry.key.rpartition("/")[2])
            if file is not None:
                await self._watched(self._read(file), "living file")
        self.store.turns = self.turns

    async def empty(self) -> list[str]:
        """Delete everything, let time pass, collect: what is left."""
        self.store.turns = None
        for video in self.videos:
            try:
                record = await self.stored.jobs.get(TENANT, video)
            except NotFound:
                continue
            if not record.state.terminal:
                await self.stored.end(record, JobState.CANCELLED)
            await self.stored.delete(video)
        async for entry in self.store.list(f"t/{TENANT}/files/"):
            file_id = entry.key.rpartition("/")[2]
            if await self._file(file_id) is not None:
                await self.stored.files.delete(TENANT, file_id)
        for _ in range(3):
            self.clock.advance(8 * 24)
            await collect_once(self.store, RETENTION, now_ms=self.clock)
        return [key for key in self.store.keys("") if key != "runtime/sweep"]

    # ── how ─────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _begin(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.create_task(self._watched(work, name), name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        await self.turns.settle()

    async def _watched(self, work: Coroutine[Any, Any, Any], name: str) -> None:
        try:
            await work
        except (NotFound, Corrupt) as error:
            self.wrong.append(f"{name}: {error.message}")

    @contextmanager
    def _front_door(self) -> Iterator[None]:
        self._at_the_door += 1
        try:
            yield
        finally:
            self._at_the_door -= 1

    async def _create(self, parent: str, fields: dict[str, Any]) -> None:
        record = await self._accepted(parent, fields)
        if record is None:
            return
        try:
            await self.stored.make(record, fail_after=1 if fields["seed"] == 3 else None)
        except Conflict:  # the same idempotency key: another one makes it
            return
        self.made += 1

    async def _accepted(self, parent: str, fields: dict[str, Any]) -> JobRecord | None:
        with self._front_door():
            try:
                if parent and (await self.stored.jobs.get(TENANT, parent)).state is not JobState.SUCCEEDED:
                    return None
            except NotFound:
                return None
            try:
                record = await self.stored.accept(parent, **fields)
            except (AlreadyExists, FailedPrecondition):
                return None
            except NotFound as error:
                if error.message.startswith("no video"):  # deleted a moment ago
                    return None
                raise
        if record.id not in self.videos:
            self.videos.append(record.id)
        return record if record.state is JobState.QUEUED else None

    async def _delete(self, video: str) -> None:
        try:
            record = await self.stored.jobs.get(TENANT, video)
            if record.state.terminal:
                await self.stored.jobs.delete(record)
        except (NotFound, Conflict):
            return

    async def _upload(self, data: bytes, expires: bool) -> None:
        with self._front_door():
            await self.stored.keep_file(data, expires_ms=self.clock.ms + 3_600_000 if expires else None)

    async def _collect(self) -> None:
        report = await collect_once(self.store, RETENTION, now_ms=self.clock)
        self.wrong += [f"damaged: {damage.key}: {damage.why}" for damage in report.damaged]

    async def _file(self, file_id: str) -> str | None:
        try:
            return (await self.stored.files.get(TENANT, file_id)).sha256
        except NotFound:
            return None

    async def _read(self, digest: str) -> None:
        await self.stored.blobs.get(digest)
