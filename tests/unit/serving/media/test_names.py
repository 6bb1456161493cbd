"""Looking hosts up, of which some have name servers that never answer."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from serving.errors import InvalidArgument, ResourceExhausted
from serving.media.fetch import Fetcher, FetchPolicy
from serving.media.names import EACH, LOOK_UPS, Resolver, UnansweredError

pytestmark = pytest.mark.anyio


class Names:
    """The system's resolver, for which hosts that end in `.slow` never answer until it is told."""

    def __init__(self) -> None:
        self.answer = threading.Event()
        self.held = 0

    def __call__(self, host: str, port: int, **_: Any) -> list[tuple[object, ...]]:
        if host.endswith(".slow"):
            self.held += 1
            self.answer.wait(30)
        return [(2, 1, 6, "", ("10.0.0.1", port))]


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Iterator[Names]:
    names = Names()
    monkeypatch.setattr(socket, "getaddrinfo", names)
    yield names
    names.answer.set()


async def test_names_that_never_answer_hold_up_neither_other_tenants_nor_other_work(names: Names) -> None:
    resolver = Resolver(patience_s=30)
    asked = [asyncio.create_task(resolver("a", f"{number}.slow", 80)) for number in range(40)]
    await asyncio.sleep(0.05)
    async with asyncio.timeout(5):
        assert await resolver("b", "b.example", 80) == ["10.0.0.1"]
        with pytest.raises(InvalidArgument, match="not on the public internet"):  # it was looked up
            await Fetcher(FetchPolicy(), resolver).fetch("b", "http://b.example/x.png", field="f", max_bytes=10)
        assert await asyncio.to_thread(lambda: 1) == 1
    assert names.held == EACH
    names.answer.set()
    assert await asyncio.gather(*asked) == [["10.0.0.1"]] * 40


async def test_a_thread_that_nobody_waits_for_any_more_still_counts_as_its_tenants(names: Names) -> None:
    """Or who gives up and asks again would have a thread more each time."""
    resolver = Resolver(patience_s=0.1)
    for number in range(EACH):
        with pytest.raises(UnansweredError, match=r"name servers of '\d.slow' do not answer"):
            await resolver("a", f"{number}.slow", 80)
    for _ in range(3):
        with pytest.raises(ResourceExhausted, match=f"name servers of {EACH} of your URLs' hosts") as caught:
            await resolver("a", "more.slow", 80)
    assert (caught.value.reason, caught.value.retry_after_s) == ("TOO_MANY_AT_ONCE", 0.1)
    assert names.held == EACH < LOOK_UPS
    names.answer.set()
    async with asyncio.timeout(5):
        while True:
            try:
                assert await resolver("a", "again.example", 80) == ["10.0.0.1"]
                break
            except ResourceExhausted:
                continue


async def test_a_fetch_says_that_it_was_the_name_servers(names: Names) -> None:
    fetcher = Fetcher(FetchPolicy(), Resolver(patience_s=0.05))
    with pytest.raises(InvalidArgument, match=r"^f: the name servers of the URL's host do not answer"):
        await fetcher.fetch("a", "http://a.slow/x.png", field="f", max_bytes=10)


async def test_what_is_no_name_is_an_error_as_of_one_that_is_not_found() -> None:
    for host in ("a..b", "a" * 64 + ".example"):
        with pytest.raises(OSError, match="is no host name"):
            await Resolver()("a", host, 80)
