"""The front door itself: tenants, health, reflection, metrics, addresses."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from typer.testing import CliRunner

from serving.cli.keys import app as keys_app
from serving.errors import SettingsError
from serving.gen.longtake.v1 import videos_pb2
from serving.settings import Auth, Grpc, Http
from tests.contract.longtake_door import Client, opened, refused, settings_for

pytestmark = pytest.mark.anyio


async def test_tenants_see_nothing_of_each_other(tmp_path: Path) -> None:
    keys = tmp_path / "keys.jsonl"
    key = {}
    for tenant in ("one", "two"):
        command = ["add", "k", "--tenant", tenant, "--file", str(keys)]
        key[tenant] = CliRunner().invoke(keys_app, command).stdout.splitlines()[0]
    async with opened(settings_for(tmp_path, auth=Auth(keys_file=keys))) as client:
        header = {tenant: (("authorization", f"Bearer {key[tenant]}"),) for tenant in key}
        request = videos_pb2.CreateVideoRequest(prompt="x", seconds=1, request_id="same")
        mine = await client.videos.CreateVideo(request, metadata=header["one"])
        theirs = await client.videos.CreateVideo(request, metadata=header["two"])
        watching = client.videos.WatchVideo(videos_pb2.WatchVideoRequest(id=mine.id), metadata=header["one"])
        url = [event async for event in watching][-1].video.url
        assert mine.id != theirs.id

        async with refused(grpc.StatusCode.NOT_FOUND, mine.id):
            await client.videos.GetVideo(videos_pb2.GetVideoRequest(id=mine.id), metadata=header["two"])
        for extends in (
            videos_pb2.Extension(video_id=mine.id),
            videos_pb2.Extension(media=videos_pb2.Media(url=url)),
        ):
            async with refused(grpc.StatusCode.NOT_FOUND, ""):
                stolen = videos_pb2.CreateVideoRequest(prompt="x", extends=extends)
                await client.videos.CreateVideo(stolen, metadata=header["two"])
        async with refused(grpc.StatusCode.UNAUTHENTICATED, "no API key"):
            await client.get(mine.id)


async def test_strangers_keep_nobody_from_asking_how_it_is(client: Client) -> None:
    """Calls whose message never comes, and streams that stay, on two connections of theirs."""
    own = [("grpc.use_local_subchannel_pool", 1)]
    async with AsyncExitStack() as stack:
        for _ in range(2):
            strange = await stack.enter_async_context(grpc.aio.insecure_channel(client.door.grpc_address, options=own))
            half: list[Any] = [strange.stream_unary("/grpc.health.v1.Health/Check")() for _ in range(4)]
            stack.callback(lambda calls: [call.cancel() for call in calls], half)
            watched = health_pb2_grpc.HealthStub(strange)
            watches = [watched.Watch(health_pb2.HealthCheckRequest()) for _ in range(280)]
            await asyncio.gather(*(watch.read() for watch in watches), return_exceptions=True)

        health = health_pb2_grpc.HealthStub(client.channel)
        answer = await health.Check(health_pb2.HealthCheckRequest(), timeout=20)

    assert answer.status == health_pb2.HealthCheckResponse.SERVING


async def test_health_and_reflection_know_all_services(client: Client) -> None:
    health = health_pb2_grpc.HealthStub(client.channel)
    for service in ("", "longtake.v1.Videos", "xai_api.Video"):
        answer = await health.Check(health_pb2.HealthCheckRequest(service=service))
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
    reflection = reflection_pb2_grpc.ServerReflectionStub(client.channel)
    asked = reflection_pb2.ServerReflectionRequest(list_services="")
    async for answer in reflection.ServerReflectionInfo(iter([asked])):
        names = {service.name for service in answer.list_services_response.service}
        assert {"longtake.v1.Videos", "longtake.v1.Files", "longtake.v1.Models", "xai_api.Video"} <= names


async def test_health_readiness_and_metrics_over_http(client: Client) -> None:
    async with httpx.AsyncClient(base_url=f"http://{client.door.http_address}") as web:
        assert (await web.get("/healthz")).text == "ok\n"
        assert (await web.get("/readyz")).json() == {"ready": True, "problems": {}}
        await client.made(prompt="a red square")
        metrics = (await web.get("/metrics")).text
    assert 'longtake_jobs_created_total{kind="video",source="new"}' in metrics
    assert "longtake_rpc_handled_total" in metrics


@pytest.mark.parametrize("group", ["grpc", "http"])
async def test_a_taken_port_is_one_clear_line(client: Client, tmp_path: Path, group: str) -> None:
    taken = client.door.grpc_address if group == "grpc" else client.door.http_address
    kind = Grpc if group == "grpc" else Http
    settings = settings_for(tmp_path, **{group: kind(address=taken)})
    with pytest.raises(SettingsError, match=f"cannot listen on {taken} .setting `{group}.address`"):
        async with opened(settings):
            pass
