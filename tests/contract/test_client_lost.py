"""What the Python client does when answers, connections and bytes are lost on the way to a real front door."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import httpx
import pytest

from serving.client import DownloadFailed, Unavailable, Video, create_request
from serving.fair_places import FairPlaces
from serving.frontdoor import server
from serving.frontdoor.edge.options import Places
from serving.frontdoor.edge.rpc import Edge
from serving.settings import Grpc, Http
from tests.contract.certificates import self_signed
from tests.contract.client_forms import FORMS, connected
from tests.contract.longtake_door import Client as Door
from tests.contract.longtake_door import opened, settings_for
from tests.contract.relays import Cuts, cutting_http, lossy_grpc
from tests.contract.sample_media import CAT

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("form", FORMS)]


@pytest.fixture(scope="module")
async def relayed(tmp_path_factory: pytest.TempPathFactory, one_event_loop: None) -> AsyncIterator[tuple[Door, Cuts]]:
    """A front door whose media come through a relay."""
    async with cutting_http() as (public, cuts):
        http = Http(address="127.0.0.1:0", url_ttl_s=3600, public_url=f"http://{public}")
        async with opened(settings_for(tmp_path_factory.mktemp("door"), http=http)) as door:
            cuts.upstream = door.door.http_address
            yield door, cuts


@pytest.fixture
def door(relayed: tuple[Door, Cuts]) -> Door:
    return relayed[0]


@pytest.fixture
def cuts(relayed: tuple[Door, Cuts]) -> Cuts:
    relayed[1].requests.clear()
    relayed[1].after.clear()
    return relayed[1]


async def test_a_create_whose_answer_is_lost_is_sent_again_and_makes_nothing_twice(form: str, door: Door) -> None:
    before = {video.id async for video in _all(form, door)}
    async with lossy_grpc(door.door.grpc_address) as (address, losses), connected(form, address) as client:
        losses.answers["CreateVideo"] = 2
        video = await client.create(create_request("x", seconds=1))
        assert losses.calls["CreateVideo"] == 3
    assert {found.id async for found in _all(form, door)} - before == {video.id}


async def test_a_call_that_was_one_too_many_comes_back_by_itself(
    form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = Places(calls=FairPlaces("calls", places=1, each=1, waiting=0, retry_s=0.1))
    monkeypatch.setattr(server, "Edge", partial(Edge, places=places))
    async with opened(settings_for(tmp_path)) as door, connected(form, door.door.grpc_address) as client:
        await places.calls.take("default")
        asking = asyncio.create_task(client.models())
        await asyncio.sleep(0.05)
        assert not asking.done()
        places.calls.give("default")
        assert await asking


async def test_what_would_do_more_when_it_is_sent_twice_is_sent_once(form: str, door: Door) -> None:
    async with lossy_grpc(door.door.grpc_address) as (address, losses), connected(form, address) as client:
        video = await client.wait((await client.create(create_request("x", seconds=1))).id)
        losses.answers["DeleteVideo"] = 1
        with pytest.raises(Unavailable):
            await client.delete(video.id)
        assert losses.calls["DeleteVideo"] == 1


async def test_a_server_that_stays_away_is_given_up_after_the_retries(form: str, door: Door) -> None:
    async with lossy_grpc(door.door.grpc_address) as (address, losses), connected(form, address, retries=2) as client:
        losses.answers["ListModels"] = 9
        with pytest.raises(Unavailable, match="lost the answer"):
            await client.models()
        assert losses.calls["ListModels"] == 3


async def test_a_watch_goes_on_from_its_cursor_after_each_lost_connection(form: str, door: Door) -> None:
    door.director.open = False
    async with lossy_grpc(door.door.grpc_address) as (address, losses), connected(form, address) as client:
        video = await client.create(create_request("x", seconds=4))
        losses.cuts = [1, 2, 1]
        events = []
        async for event in client.watch(video.id):
            door.director.open = True
            events.append(event)
        assert losses.calls["WatchVideo"] == 4
    assert [event.segment.index for event in events if event.HasField("segment")] == [0, 1, 2, 3]
    assert len({event.cursor for event in events}) == len(events)
    assert events[-1].video.state == Video.SUCCEEDED


async def test_a_watch_outlives_a_restart_of_the_front_door(form: str, tmp_path: Path) -> None:
    async with opened(settings_for(tmp_path)) as first:
        first.director.open = False
        address = first.door.grpc_address
        async with connected(form, address) as client:
            video = await client.create(create_request("x", seconds=2))
            events = aiter(client.watch(video.id))
            assert (await anext(events)).video.state == Video.QUEUED
            await first.door.stop(grace_s=0.2)
            async with opened(settings_for(tmp_path, grpc=Grpc(address=address))):
                rest = [event async for event in events]
            assert [event.segment.index for event in rest if event.HasField("segment")] == [0, 1]
            assert rest[-1].video.state == Video.SUCCEEDED


async def test_a_download_that_is_cut_goes_on_where_it_was_cut(
    form: str, door: Door, cuts: Cuts, tmp_path: Path
) -> None:
    async with connected(form, door.door.grpc_address) as client:
        video = await client.wait((await client.create(create_request("x", seconds=2))).id)
        async with httpx.AsyncClient() as web:
            whole = (await web.get(video.url)).content
        cuts.requests.clear()
        cuts.after = [2000, 1500]
        told: list[int] = []
        await client.download(video.id, tmp_path / "x.mp4", progress=lambda there, _: told.append(there))
    assert (tmp_path / "x.mp4").read_bytes() == whole
    assert [b"\r\nrange:" in head for head in cuts.requests] == [False, True, True]
    assert told == sorted(told)
    assert [path.name for path in tmp_path.iterdir()] == ["x.mp4"]


async def test_another_download_to_the_path_goes_on_from_what_a_failed_one_left(
    form: str, door: Door, cuts: Cuts, tmp_path: Path
) -> None:
    path = tmp_path / "x.mp4"
    async with connected(form, door.door.grpc_address, retries=0) as client:
        video = await client.wait((await client.create(create_request("x", seconds=2))).id)
        other = await client.wait((await client.create(create_request("x", seconds=1, aspect_ratio="1:1"))).id)
        cuts.after = [2000]
        with pytest.raises(DownloadFailed, match="kept"):
            await client.download(video.id, path)
        assert not path.exists()
        await client.download(video.id, path)
        assert b"\r\nrange: bytes=" in cuts.requests[-1]
        whole = path.read_bytes()

        path.unlink()
        cuts.after = [2000]
        with pytest.raises(DownloadFailed):
            await client.download(other.id, path)
    async with connected(form, door.door.grpc_address) as client:
        await client.download(video.id, path)
    assert path.read_bytes() == whole
    assert [found.name for found in tmp_path.iterdir()] == ["x.mp4"]


async def test_a_file_that_is_cut_leaves_nothing_behind(form: str, door: Door, tmp_path: Path) -> None:
    file = await door.upload(CAT)
    async with lossy_grpc(door.door.grpc_address) as (address, losses), connected(form, address) as client:
        losses.cuts = [0]
        with pytest.raises(Unavailable):
            await client.download_file(file.id, tmp_path / "cat.png")
        assert not list(tmp_path.iterdir())
        await client.download_file(file.id, tmp_path / "cat.png")
    assert (tmp_path / "cat.png").read_bytes() == CAT


async def test_tls_takes_an_authority_of_ones_own(form: str, tmp_path: Path) -> None:
    certificate, key = await asyncio.to_thread(self_signed, tmp_path)
    grpc = Grpc(address="127.0.0.1:0", tls_cert=certificate, tls_key=key)
    async with opened(settings_for(tmp_path, grpc=grpc)) as door:
        async with connected(form, door.door.grpc_address, ca_file=certificate) as client:
            assert [model.name for model in await client.models()] == ["studio-1"]
        async with connected(form, door.door.grpc_address, retries=0) as client:
            with pytest.raises(Unavailable):
                await client.models()


async def _all(form: str, door: Door) -> AsyncIterator[Video]:
    async with connected(form, door.door.grpc_address) as client:
        async for video in client.list(limit=1000):
            yield video
