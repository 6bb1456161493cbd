"""Who is let in, through a real front door: quotas by tenant, the bound for all, rates, urgency, times to come back."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from serving.frontdoor.admission import backlog, lost
from serving.gen.longtake.v1 import videos_pb2
from serving.jobs.ids import derived_id
from serving.settings import Admission, TenantAdmission
from serving.store import keys
from tests.contract.longtake_door import Client, opened, refused, settings_for

pytestmark = pytest.mark.anyio


async def _retry_after(client: Client, **fields: Any) -> float:
    """Seconds after which a refused create says to come back."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await client.create(**fields)
    status = rpc_status.from_call(caught.value)
    assert status is not None
    retry = error_details_pb2.RetryInfo()
    assert any(detail.Unpack(retry) for detail in status.details), caught.value.details()
    return float(retry.retry_delay.ToMilliseconds() / 1000)


async def test_a_tenants_own_bound_goes_before_the_one_for_everybody(tmp_path: Path) -> None:
    bounds = Admission(max_active_jobs=1, tenants={"default": TenantAdmission(max_active_jobs=2)})
    async with opened(settings_for(tmp_path, admission=bounds)) as client:
        client.director.open = False
        for _ in range(2):
            await client.create()
        async with refused(grpc.StatusCode.RESOURCE_EXHAUSTED, "2 is the most"):
            await client.create()


async def test_the_bound_for_all_tenants_holds_for_each(tmp_path: Path) -> None:
    async with opened(settings_for(tmp_path, admission=Admission(max_all_jobs=1))) as client:
        client.director.open = False
        await client.create()
        async with refused(grpc.StatusCode.RESOURCE_EXHAUSTED, "admission.max_all_jobs"):
            await client.create()


async def test_a_refused_client_that_comes_back_when_it_was_told_is_taken(tmp_path: Path) -> None:
    async with opened(settings_for(tmp_path, admission=Admission(max_active_jobs=1))) as client:
        client.director.open = False
        first = await client.create()
        wait = await _retry_after(client)
        client.director.open = True
        await client.ended(first)
        await asyncio.sleep(wait)
        assert (await client.create()).id


async def test_a_create_that_died_before_its_record_takes_no_place_for_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backlog, "INTERVAL_S", 0.05)
    monkeypatch.setattr(backlog, "SHARE", 0.0)
    monkeypatch.setattr(lost, "COUNTS_FOR_S", 0.5)
    async with opened(settings_for(tmp_path, admission=Admission(max_active_jobs=1))) as client:
        client.director.open = False
        for key in ("died", "died too"):  # so far does a create come
            job = derived_id("vid_", "default", key)
            await client.director.store.put_if_absent(keys.active("default", 5, None, job), b"")
        async with refused(grpc.StatusCode.RESOURCE_EXHAUSTED, "1 is the most"):
            await client.create(request_id="another")
        async with asyncio.timeout(20):
            while True:
                try:
                    made = await client.create(request_id="died")
                    break
                except grpc.aio.AioRpcError as error:
                    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED  # noqa: PT017
                await asyncio.sleep(0.05)
        assert (await client.create(request_id="died")).id == made.id
        await asyncio.sleep(1)
        async with refused(grpc.StatusCode.RESOURCE_EXHAUSTED, "1 of your jobs"):
            await client.create(request_id="another")


async def test_creates_come_no_faster_than_the_rate_but_a_known_one_is_answered(tmp_path: Path) -> None:
    bounds = Admission(tenants={"default": TenantAdmission(creates_per_minute=2)})
    async with opened(settings_for(tmp_path, admission=bounds)) as client:
        first = await client.create(request_id="one")
        await client.create()
        async with refused(grpc.StatusCode.RESOURCE_EXHAUSTED, "2 videos a minute"):
            await client.create()
        assert 1 < await _retry_after(client) <= 30
        assert (await client.create(request_id="one")).id == first.id
        async with refused(grpc.StatusCode.RESOURCE_EXHAUSTED, "admission.creates_per_minute"):
            await client.create(validate_only=True)


async def test_a_resent_create_is_answered_when_the_rate_is_used_up(tmp_path: Path) -> None:
    async with opened(settings_for(tmp_path, admission=Admission(creates_per_minute=1))) as client:
        request = videos_pb2.CreateVideoRequest(prompt="x", seconds=1)
        first = await client.videos.CreateVideo(request)
        mark = (("x-stainless-retry-count", "1"),)
        assert (await client.videos.CreateVideo(request, metadata=mark)).id == first.id
        request.prompt = "y"
        async with refused(grpc.StatusCode.RESOURCE_EXHAUSTED, "1 videos a minute"):
            await client.videos.CreateVideo(request, metadata=mark)


async def test_the_most_urgent_priority_is_given_by_name(tmp_path: Path) -> None:
    async with opened(settings_for(tmp_path / "plain")) as client:
        assert (await client.create(priority=1)).priority == 1
        async with refused(grpc.StatusCode.PERMISSION_DENIED, "admission.tenants.default.most_urgent"):
            await client.create(priority=0)
    named = Admission(tenants={"default": TenantAdmission(most_urgent=0)})
    async with opened(settings_for(tmp_path / "named", admission=named)) as client:
        assert (await client.create(priority=0)).priority == 0


async def test_a_create_that_is_known_is_answered_after_its_deadline_too(tmp_path: Path) -> None:
    async with opened(settings_for(tmp_path)) as client:
        client.director.open = False
        due = Timestamp()
        due.FromMilliseconds(round((time.time() + 2) * 1000))
        first = await client.create(request_id="soon", deadline=due)
        await asyncio.sleep(2.1)
        assert (await client.create(request_id="soon", deadline=due)).id == first.id
        async with refused(grpc.StatusCode.INVALID_ARGUMENT, "passed already", field="deadline"):
            await client.create(request_id="too late", deadline=due)


async def test_a_queue_that_is_in_the_way_of_a_deadline_is_told_by_the_field(tmp_path: Path) -> None:
    async with opened(settings_for(tmp_path)) as client:
        client.director.open = False
        planned = await client.create(seconds=15, steps=8, validate_only=True)
        work_s = planned.plan.engine_seconds["denoiser"] + planned.plan.engine_seconds["renderer"]
        jobs = round(8 / work_s)
        for _ in range(jobs):
            await client.create(seconds=15, steps=8)
        due = Timestamp()
        due.FromMilliseconds(round((time.time() + 2 * work_s + 1) * 1000))
        async with refused(grpc.StatusCode.RESOURCE_EXHAUSTED, "deadline: with what is queued"):
            await client.create(seconds=15, steps=8, deadline=due)
