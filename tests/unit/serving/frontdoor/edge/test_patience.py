"""Waits that have an end: late ones are told so, others never notice, and whoever cancels is heard."""

from __future__ import annotations

import asyncio
import time

import pytest

from serving.frontdoor.edge.patience import Patience


async def _never() -> None:
    await asyncio.get_running_loop().create_future()


async def test_what_comes_is_given_and_what_fails_fails() -> None:
    async def soon() -> int:
        await asyncio.sleep(0)
        return 7

    async def badly() -> int:
        raise ValueError("no")

    patience = Patience(5)
    assert await patience.wait(soon()) == 7
    with pytest.raises(ValueError, match="no"):
        await patience.wait(badly())


async def test_all_that_wait_too_long_are_told_in_their_order() -> None:
    patience, ended = Patience(0.05), []

    async def one(number: int) -> None:
        with pytest.raises(TimeoutError):
            await patience.wait(_never())
        ended.append(number)

    await asyncio.gather(*(one(number) for number in range(20)))
    assert ended == list(range(20))
    # Nothing is left that would end who comes later.
    assert await patience.wait(asyncio.sleep(0.06 / 2, 7)) == 7


async def test_a_late_one_goes_on_as_if_it_had_never_been_cancelled() -> None:
    patience, task = Patience(0.02), asyncio.current_task()
    assert task is not None
    before = task.cancelling()  # tests share a task
    for _ in range(2):
        with pytest.raises(TimeoutError):
            await patience.wait(_never())
    assert task.cancelling() == before
    await asyncio.sleep(0.05)


async def test_a_cancelled_one_is_cancelled() -> None:
    patience = Patience(5)
    task = asyncio.create_task(patience.wait(_never()))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_who_is_late_and_cancelled_too_is_cancelled() -> None:
    patience = Patience(0.01)

    async def wait() -> None:
        await patience.wait(_never())

    task = asyncio.create_task(wait())
    asyncio.get_running_loop().call_later(0.01, task.cancel)
    # The loop is kept from its timers until both are due, so that both cancel in one turn of it.
    await asyncio.sleep(0)
    time.sleep(0.02)  # noqa: ASYNC251
    with pytest.raises(asyncio.CancelledError):
        await task
