"""Turns for foreign media, and what is remembered of those that were refused."""

from __future__ import annotations

import asyncio
from contextlib import nullcontext

import pytest

from serving.errors import InvalidArgument, ResourceExhausted
from serving.frontdoor.create.turns import KNOWN_S, SLOW_KNOWN_S, Turns
from serving.media import sandbox
from serving.media.sandbox import Decoder, TooSlow
from tests.contract.sample_media import CAT
from tests.unit.serving.conftest import Clock

pytestmark = pytest.mark.anyio


async def check(turns: Turns, tenant: str, data: bytes, *, refused: bool) -> bool:
    """Whether it was looked at."""
    looked = False
    with pytest.raises(InvalidArgument, match="image: it is no picture") if refused else nullcontext():
        async with turns.checking(tenant, data, "image"):
            looked = True
            _decode(refused=refused)
    return looked


def _decode(*, refused: bool) -> None:
    if refused:
        raise InvalidArgument("image", "it is no picture")


async def test_a_refused_picture_is_known_to_its_tenant_for_a_while(clock: Clock) -> None:
    turns = Turns(clock=clock.seconds)
    assert await check(turns, "a", b"bad", refused=True)
    assert not await check(turns, "a", b"bad", refused=True)
    assert await check(turns, "b", b"bad", refused=True)
    assert await check(turns, "a", b"good", refused=False)
    assert await check(turns, "a", b"good", refused=False)
    clock.ms += round(KNOWN_S * 1000) + 1
    assert await check(turns, "a", b"bad", refused=True)


async def test_a_picture_that_was_too_slow_is_soon_looked_at_again(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may have been the machine, which has less to do the next time."""
    turns, decoder = Turns(clock=clock.seconds), Decoder()

    async def checked() -> None:
        async with turns.checking("a", CAT, "image"):
            await decoder.check_image(CAT, field="image")

    with monkeypatch.context() as patched:
        patched.setattr(sandbox, "_START", "import time; time.sleep(60)")
        patched.setattr(sandbox, "_PICTURE_SECONDS", 0.05)
        with pytest.raises(TooSlow):
            await checked()
    with pytest.raises(TooSlow):
        await checked()
    clock.ms += round(SLOW_KNOWN_S * 1000) + 1
    await checked()


@pytest.mark.parametrize("refusal", [InvalidArgument, TooSlow])
async def test_a_burst_of_one_bad_picture_is_looked_at_as_often_as_there_are_places(
    clock: Clock, refusal: type[InvalidArgument]
) -> None:
    turns, looked = Turns(clock=clock.seconds), [0]

    async def check_once() -> None:
        async with turns.checking("a", b"bad", "image"):
            looked[0] += 1
            await asyncio.sleep(0.01)
            raise refusal("image", "it is bad")

    said = await asyncio.gather(*(check_once() for _ in range(12)), return_exceptions=True)
    assert {(type(one), str(one)) for one in said} == {(refusal, "image: it is bad")}
    assert looked == [2]


async def test_one_tenants_pictures_leave_a_place_for_anothers(clock: Clock) -> None:
    turns = Turns(clock=clock.seconds)
    end = asyncio.Event()

    async def slow() -> None:
        async with turns.decoding("a"):
            await end.wait()

    many = [asyncio.create_task(slow()) for _ in range(40)]
    await asyncio.sleep(0)
    async with asyncio.timeout(1), turns.decoding("b"):
        pass
    end.set()
    said = await asyncio.gather(*many, return_exceptions=True)
    assert sum(isinstance(one, ResourceExhausted) for one in said) == 40 - 2 - 32
