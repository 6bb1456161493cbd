"""No child outlives the call that started it."""

from __future__ import annotations

import asyncio
import os
import sys
from asyncio.subprocess import PIPE, Process

import pytest

from serving.media import reaping, sandbox
from serving.media.reaping import ended
from serving.media.sandbox import Decoder

pytestmark = pytest.mark.anyio
TALKS = "while True: print('x' * 100_000, end='')"


async def started(code: str) -> Process:
    return await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=PIPE)


async def gone(pid: int) -> bool:
    """Within a time that is enough on a busy machine."""
    for _ in range(200):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        await asyncio.sleep(0.05)
    return False


async def test_one_that_has_answered_ends_by_itself() -> None:
    child = await started("pass")
    assert child.stdout is not None
    await child.stdout.read()
    await ended(child)
    assert child.returncode == 0


@pytest.mark.parametrize("at_once", [True, False])
async def test_whoever_is_cancelled_while_it_ends_leaves_none_behind(at_once: bool) -> None:
    child = await started(TALKS)
    ending = asyncio.create_task(ended(child, at_once=at_once))
    await asyncio.sleep(0)
    ending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await ending
    assert await gone(child.pid)


async def test_a_call_that_is_cancelled_twice_leaves_no_child(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second time it is while the child is waited for."""
    monkeypatch.setattr(sandbox, "_START", TALKS)
    decoder, started = Decoder(parallel=1), asyncio.Future[Process]()

    async def call() -> None:
        async with decoder._child({}, PIPE) as child:
            started.set_result(child)
            await asyncio.sleep(60)

    calling = asyncio.create_task(call())
    child = await started
    calling.cancel()
    await asyncio.sleep(0)
    calling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await calling
    assert await gone(child.pid)
    assert not decoder._places.locked()


async def test_one_that_is_not_wanted_gets_no_time_to_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reaping, "_GRACE_S", 60)
    child = await started(TALKS)
    async with asyncio.timeout(20):
        await ended(child, at_once=True)
    assert child.returncode == -9
