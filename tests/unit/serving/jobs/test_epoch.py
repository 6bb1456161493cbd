"""Epochs: one Director at a time, and one that idles knows when it is needed."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from serving.jobs import epoch as epochs
from serving.jobs.epoch import EpochLost, abandoned, newest_epoch, take_epoch, turn
from serving.store import keys
from serving.store.base import Store, Versioned
from serving.store.directory import DirectoryStore
from serving.store.open import open_store
from tests.unit.serving.later_version import rewrite

pytestmark = pytest.mark.anyio
SOON = 0.02


@pytest.fixture
async def store(tmp_path: Path) -> Store:
    return await open_store(str(tmp_path / "store"), probe=False)


async def test_a_signature_keeps_the_epoch_and_an_old_one_cannot_sign(store: Store) -> None:
    first = await take_epoch(store)
    before = await store.get(keys.EPOCH)
    await first.sign()
    await first.check()
    assert (await store.get(keys.EPOCH)).data != before.data

    second = await take_epoch(store)
    with pytest.raises(EpochLost, match=f"epoch {first.number}, and {second.number} has started"):
        await first.sign()
    assert await newest_epoch(store) == second.number


class Slow(DirectoryStore):
    """A store whose reads of the epoch are counted, and answered when that is allowed."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.reads = 0
        self.answer = asyncio.Event()
        self.answer.set()

    async def get(self, key: str) -> Versioned:
        self.reads += 1
        answer, found = self.answer, await super().get(key)
        await answer.wait()
        return found


async def test_one_read_answers_all_who_asked_before_it_began(tmp_path: Path) -> None:
    store = Slow(tmp_path)
    await store.open()
    epoch = await take_epoch(store)
    store.reads = 0

    await asyncio.gather(*(epoch.check() for _ in range(100)))

    assert store.reads == 1


async def test_who_asks_while_the_epoch_is_read_is_answered_by_a_later_read(tmp_path: Path) -> None:
    """Also when that one is never answered."""
    store = Slow(tmp_path)
    await store.open()
    epoch = await take_epoch(store)
    store.reads, answered, store.answer = 0, store.answer, asyncio.Event()
    early = asyncio.create_task(epoch.check())
    while not store.reads:  # noqa: ASYNC110  (nobody tells)
        await asyncio.sleep(0)
    store.answer = answered
    await take_epoch(store)

    with pytest.raises(EpochLost):
        await epoch.check()

    assert not early.done()
    early.cancel()
    await asyncio.wait([early])


async def test_one_that_idles_is_needed_when_the_newest_signs_no_more(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(epochs, "SIGN_EVERY_S", SOON)
    newest = await take_epoch(store)
    idle = asyncio.create_task(abandoned(store))
    for _ in range(3 * epochs.SILENT):
        await newest.sign()
        await asyncio.sleep(SOON / 2)
    assert not idle.done()

    async with asyncio.timeout(10):
        await idle


async def test_an_epoch_of_a_later_version_is_followed(store: Store) -> None:
    later = await take_epoch(store)
    await rewrite(store, keys.EPOCH, mood="calm")
    await later.check()

    ours = await take_epoch(store)

    assert ours.number == later.number + 1
    with pytest.raises(EpochLost):
        await later.sign()


async def _never() -> None:
    await asyncio.Event().wait()


async def test_a_director_of_another_cluster_takes_over_when_its_stages_are_up(store: Store) -> None:
    await turn(store, "first", _never)  # nobody works
    await take_epoch(store, "first")
    await turn(store, "first", _never)  # one that is started again in its own cluster
    up = asyncio.Event()

    async def ready() -> None:
        await up.wait()

    waiting = asyncio.create_task(turn(store, "second", ready))
    await asyncio.sleep(SOON)
    assert not waiting.done()
    up.set()
    await waiting


async def test_it_does_not_wait_for_its_stages_when_the_other_cluster_is_gone(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    epoch = await take_epoch(store, "first")
    await epoch.sign()
    monkeypatch.setattr(epochs, "SIGN_EVERY_S", 0.001)
    await turn(store, "second", _never)


async def test_what_keeps_the_stages_from_being_seen_is_raised(store: Store) -> None:
    await take_epoch(store, "first")

    async def ready() -> None:
        raise RuntimeError("no controller")

    with pytest.raises(RuntimeError, match="no controller"):
        await turn(store, "second", ready)
