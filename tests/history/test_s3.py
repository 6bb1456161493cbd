"""The S3 store on real servers keeps compare-and-swap linearizable, in fair weather and in bad."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from urllib.parse import urlsplit

import pytest

from serving.errors import NotFound, Unavailable
from serving.store.base import Store
from serving.store.open import open_store
from serving.store.s3 import store as s3
from tests import servers
from tests.history.checker import assert_linearizable
from tests.history.lossy import LosesAnswers
from tests.history.recorder import History, Recorder
from tests.history.relay import BadWeather, Fault, HeldAnswer
from tests.history.workload import Workload, assert_telling, retire, run
from tests.servers import CutAnswers, S3Server

START = {"minio": servers.minio_server, "weed": servers.seaweedfs_server}


@pytest.fixture(scope="module", params=START)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    if servers.program(request.param) is None:
        pytest.skip(f"the program `{request.param}` is not on the PATH")
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("LONGTAKE_S3_ACCESS_KEY", servers.ACCESS_KEY)
        monkeypatch.setenv("LONGTAKE_S3_SECRET_KEY", servers.SECRET_KEY)
        with START[request.param](tmp_path_factory.mktemp("s3") / "server") as running:
            asyncio.run(_first_write(running))
            yield running


async def _first_write(server: S3Server) -> None:
    """Make the bucket; SeaweedFS makes its volumes at the first write, and takes seconds for it."""
    store = await open_store(server.url)
    await store.close()


def port_of(server: S3Server) -> int:
    port = urlsplit(server.url).port
    assert port is not None
    return port


async def through(relay: CutAnswers, server: S3Server) -> Store:
    """A store that reaches the server through the relay."""
    return await open_store(server.url.replace(f":{port_of(server)}", f":{relay.port}"), probe=False)


def workload(folder: str) -> Workload:
    """Ten clients on two dozen keys."""
    return Workload(seed=1, clients=range(10), rounds=40, keys=[f"{folder}/{number}" for number in range(24)])


@pytest.mark.parametrize("share", [0.0, 0.1], ids=["all answers come", "answers are lost"])
def test_many_clients(server: S3Server, share: float) -> None:
    async def clients() -> History:
        history, work = History(), workload(f"fair{share}")
        store = await open_store(server.url, probe=False)
        lossy = LosesAnswers(store, work.seed, share=share, pause_s=0.002)
        await run(lossy, work, history)
        await lossy.settle()
        await retire(lossy, replace(work, rounds=2, keys=work.keys[:3]), history)
        await lossy.settle()
        await store.close()
        return history

    history = asyncio.run(clients())
    assert_telling(history, unknown=share > 0)
    assert_linearizable(history.operations)


@pytest.mark.parametrize("shared", [False, True], ids=["each its own keys", "the same keys"])
def test_many_clients_in_bad_weather(server: S3Server, shared: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Faults on the wire: the store reads back by itself, and its clients get answers as if nothing had been.

    On shared keys a refusal may hide a write that was overtaken (see the next test), so only there it is doubted.
    """
    monkeypatch.setattr(s3, "_READ_S", 1.0)
    faults: list[Fault] = ["answer lost", "request lost", "request late"]
    work = workload("bad")
    works = [work] if shared else [replace(work, clients=range(n, n + 1), keys=[f"own/{n}"]) for n in work.clients]

    async def clients() -> tuple[History, BadWeather]:
        relay = BadWeather(port_of(server), faults, seed=1, late_s=1.3)
        history, store = History(doubts_refusals=shared), await through(relay, server)
        relay.share = 0.02
        await asyncio.gather(*(run(store, work, history) for work in works))
        relay.share = 0.0
        await store.close()
        relay.close()
        return history, relay

    history, relay = asyncio.run(clients())
    assert set(relay.done) == set(faults)
    assert_telling(history, unknown=shared)
    assert_linearizable(history.operations)


def test_a_lost_swap_that_was_overtaken_is_no_conflict(server: S3Server) -> None:
    """Its bytes are gone when they are read back: they were there, for the other writer has read them."""

    async def story() -> History:
        history, relay = History(), HeldAnswer(port_of(server))
        behind, direct = await through(relay, server), await open_store(server.url, probe=False)
        slow, fast = Recorder(behind, history, 1), Recorder(direct, history, 2)
        await slow.put_if_absent("overtaken", b"first")
        version = (await slow.get("overtaken")).version
        relay.armed = True
        swapping = asyncio.create_task(slow.swap("overtaken", b"second", version))
        assert await asyncio.to_thread(relay.holds.wait, 30)
        await fast.swap("overtaken", b"third", (await fast.get("overtaken")).version)
        relay.goes_on.set()
        await asyncio.gather(swapping, return_exceptions=True)  # what it raises is in the history
        await behind.close()
        await direct.close()
        relay.close()
        return history

    assert_linearizable(asyncio.run(story()).operations)


def test_a_torn_request_is_no_write(server: S3Server) -> None:
    """The connection ends after the headers, as it does when a process is killed there.

    SeaweedFS takes a request without its body for an empty object, unless a Content-MD5 tells it better.
    """

    async def story() -> History:
        history, relay = History(), BadWeather(port_of(server), ["request torn"])
        store = await through(relay, server)
        client = Recorder(store, history, 1)
        await client.put_if_absent("torn/a", b"first")
        version = (await client.get("torn/a")).version
        relay.share = 1.0
        for call in (client.swap("torn/a", b"second", version), client.put_if_absent("torn/b", b"third")):
            with suppress(Unavailable):
                await call
        relay.share = 0.0
        for key in ("torn/a", "torn/b"):
            with suppress(NotFound):
                await client.get(key)
        await store.close()
        relay.close()
        return history

    assert_linearizable(asyncio.run(story()).operations)
