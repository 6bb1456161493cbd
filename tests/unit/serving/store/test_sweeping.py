"""A writer and a collector meet at a blob or a manifest: in every order of their calls, what was written is there."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from serving.errors import NotFound
from serving.retention.context import Collection
from serving.retention.report import Report
from serving.retention.sweep import Kind, Sweep
from serving.segments.lineage import Segments
from serving.settings import Retention
from serving.store import directory, sweeping
from serving.store.blobs import Blobs
from serving.store.keys import SWEEP
from serving.store.s3 import store as s3
from tests.unit.serving.retention.clocked_store import IN_MEMORY, Clock, ClockedStore, Turns
from tests.unit.serving.segments.test_lineage import manifest

PREFIX = "t/a/blobs/"


class Meeting:
    """A blob that is old, somebody who writes it once more, and a collector that found it a moment ago."""

    prefix = PREFIX

    def __init__(self, folder: Path, *, there: bool) -> None:
        self.clock = Clock()
        self.store = ClockedStore(folder, self.clock)
        self.there = there

    async def write(self) -> str:
        """The digest."""
        return await Blobs(self.store, "a").put(b"bytes")

    async def read(self, digest: str) -> None:
        """Raises `NotFound` when it went."""
        assert await Blobs(self.store, "a").get(digest) == b"bytes"

    async def run(self, choices: list[int]) -> list[int]:
        """Follow the choices, then always the first; how many there were to choose from at each turn."""
        digest = await self.write()
        await self.store.put_if_absent(SWEEP, sweeping._encode(()))
        self.clock.advance(24)
        entries = [entry async for entry in self.store.list(self.prefix)]
        if not self.there:  # another collector has taken it
            await self.store.delete(entries[0].key)
        turns = self.store.turns = Turns()
        collection = Collection(self.store, Retention(), self.clock, Report(self.clock.ms, dry_run=False), _unheard)
        kind = Kind("content", self.prefix, collection.before(3600), lambda _: False, announced=True)
        writing = asyncio.create_task(self.write())
        sweep = asyncio.create_task(Sweep(collection)._collect(kind, entries))
        branches: list[int] = []
        while not (writing.done() and sweep.done()):
            await turns.settle()
            if turns.waiting:
                pick = choices[len(branches)] if len(branches) < len(choices) else 0
                branches.append(len(turns.waiting))
                await turns.give(pick)
        await sweep
        self.store.turns = None
        assert await writing == digest
        try:
            await self.read(digest)
        except NotFound as error:
            raise AssertionError("\n".join([error.message, *turns.log])) from error
        return branches


class ManifestMeeting(Meeting):
    """The same of a manifest."""

    prefix = "t/a/segments/"

    async def write(self) -> str:
        return await Segments(self.store, "a").commit(manifest())

    async def read(self, digest: str) -> None:
        assert await Segments(self.store, "a").get(digest) == manifest()


def _unheard(_: str, __: int) -> None:
    """Nobody watches."""


def in_every_order(make: Callable[[int], Meeting], longest: int = 12) -> int:
    """Try all orders whose first `longest` turns differ; how many there are. Raises what the first one raises."""
    tried, choices = 0, [0]
    while choices:
        branches = asyncio.run(make(tried).run(choices))
        tried += 1
        choices = (choices + [0] * len(branches))[: min(len(branches), longest)]
        while choices and choices[-1] + 1 >= branches[len(choices) - 1]:
            choices.pop()
        if choices:
            choices[-1] += 1
    return tried


@pytest.fixture(autouse=True)
def _nobody_sleeps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeping, "_LOOK_EVERY_S", 0)


@pytest.fixture
def folder() -> Iterator[Path]:
    """In memory where that can be had: every order has a store of its own."""
    with tempfile.TemporaryDirectory(dir=IN_MEMORY) as name:
        yield Path(name)


@pytest.mark.parametrize("there", [True, False])
@pytest.mark.parametrize(("meeting", "longest"), [(Meeting, 12), (ManifestMeeting, 10)])
def test_whoever_is_faster_the_bytes_are_there(folder: Path, meeting: type[Meeting], longest: int, there: bool) -> None:
    assert in_every_order(lambda number: meeting(folder / str(number), there=there), longest) > 100


async def _true(*_: object) -> bool:
    return True


@pytest.mark.parametrize(
    ("owner", "name"), [(Blobs, "_renew"), (sweeping, "undisturbed")], ids=["no touch", "the writer does not look"]
)
def test_a_writer_that_is_careless_is_found_out(
    owner: object, name: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(owner, name, _true)
    with pytest.raises(Exception, match="no object"):
        in_every_order(lambda number: Meeting(folder / str(number), there=True))


def test_a_collector_that_does_not_look_again_is_found_out(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def all_of_them(_: Sweep, __: Kind, doomed: object) -> object:
        return doomed

    monkeypatch.setattr(Sweep, "_still_old", all_of_them)
    monkeypatch.setattr(sweeping, "_exists", _true)
    with pytest.raises(Exception, match="no object"):
        in_every_order(lambda number: Meeting(folder / str(number), there=True))


def test_the_announcement_of_a_collector_that_died_holds_nobody_up_for_long(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweeping, "STALE_S", 0.2)

    async def run() -> None:
        store = ClockedStore(folder, Clock())
        blobs = Blobs(store, "a")
        digest = await blobs.put(b"bytes")
        key = f"{PREFIX}{digest}"
        with pytest.raises(RuntimeError):
            async with sweeping.announced(store, [key]):
                raise RuntimeError
        assert json.loads((await store.get(SWEEP)).data)["keys"] == [key]
        assert await blobs.put(b"bytes") == digest
        async with sweeping.announced(store, [f"{PREFIX}other"]):
            pass
        assert json.loads((await store.get(SWEEP)).data)["keys"] == []

    asyncio.run(run())


def test_two_collectors_announce_one_after_the_other(folder: Path) -> None:
    async def run() -> None:
        store = ClockedStore(folder, Clock())
        at_once, most = 0, 0

        async def batch(number: int) -> None:
            nonlocal at_once, most
            async with sweeping.announced(store, [f"{PREFIX}{number}"]):
                at_once += 1
                most = max(most, at_once)
                await asyncio.sleep(0.01)
                at_once -= 1

        await asyncio.gather(*(batch(number) for number in range(4)))
        assert most == 1

    asyncio.run(run())


def test_the_times_of_stores_and_batches_fit_together() -> None:
    longest_request_s = s3._CONNECT_S + s3._READ_S
    assert sweeping.STALE_S == sweeping.BATCH_S + sweeping.SLACK_S
    assert max(longest_request_s, directory._LOCK_WITHIN_S) < sweeping.SLACK_S
    assert s3._DELETE_SIGNED_FOR.total_seconds() > sweeping.BATCH_S, "a signature must hold from the announcement on"
