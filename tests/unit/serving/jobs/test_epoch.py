"""Epochs: one Director at a time, and one that idles knows when it is needed."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from serving.jobs import epoch as epochs
from serving.jobs.epoch import EpochLost, abandoned, newest_epoch, take_epoch
from serving.store import keys
from serving.store.base import Store
from serving.store.open import open_store

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
