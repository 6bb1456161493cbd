"""Epochs: one Director at a time, and one that idles knows when it is needed."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from serving.jobs import epoch as epochs
from serving.jobs.epoch import EpochLost, abandoned, newest_epoch, take_epoch
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
