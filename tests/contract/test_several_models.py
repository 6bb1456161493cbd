"""Several models behind one front door: a request chooses, and what is not served is refused with what is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import grpc
import pytest
from google.protobuf.empty_pb2 import Empty

from serving.frontdoor.create.catalog import Catalog, ServedModel
from serving.gen.longtake.v1 import jobs_pb2, jobs_pb2_grpc, models_pb2
from serving.gen.xai.api.v1 import models_pb2_grpc as xai_models_pb2_grpc
from tests.contract.fake_director import MODEL
from tests.contract.longtake_door import Client, opened, refused, settings_for

pytestmark = pytest.mark.anyio
STYLED = replace(MODEL, model="tiny+style", aliases=(), seconds=replace(MODEL.seconds, default=2))
ONE, OTHER = ServedModel(MODEL, "5" * 64), ServedModel(STYLED, "6" * 64)


async def _listed(client: Client) -> dict[str, bool]:
    """Names, and which is the default."""
    found = await client.models.ListModels(models_pb2.ListModelsRequest())
    return {model.name: model.default for model in found.models}


async def test_all_are_listed_on_each_wire_and_a_request_chooses(tmp_path: Path) -> None:
    async with opened(settings_for(tmp_path), Catalog([ONE, OTHER], default=MODEL.model)) as client:
        assert await _listed(client) == {MODEL.model: True, "tiny+style": False}
        stub = xai_models_pb2_grpc.ModelsStub(client.channel)
        images = await stub.ListImageGenerationModels(Empty())
        assert [model.name for model in images.models] == [MODEL.model, "tiny+style"]

        made = {name: await client.made(model=name) for name in ("", MODEL.model, "tiny+style")}
        assert [video.model for video in made.values()] == [MODEL.model, MODEL.model, "tiny+style"]
        async with refused(grpc.StatusCode.NOT_FOUND, f"there is {MODEL.model}, tiny+style"):
            await client.create(model="gone-1")


async def test_an_extension_that_names_no_model_is_of_the_one_that_made_its_video(tmp_path: Path) -> None:
    async with opened(settings_for(tmp_path), Catalog([ONE, OTHER], default=MODEL.model)) as client:
        styled = await client.made(model="tiny+style")
        assert (await client.ended(await client.extend(styled.id))).model == "tiny+style"
        async with refused(grpc.StatusCode.INVALID_ARGUMENT, "only tiny+style can extend it", "model"):
            await client.extend(styled.id, model=MODEL.model)


async def test_a_model_that_goes_is_refused_and_its_videos_stay(tmp_path: Path) -> None:
    catalog = Catalog([ONE, OTHER], default=MODEL.model)
    async with opened(settings_for(tmp_path), catalog) as client:
        styled = await client.made(model="tiny+style")
        catalog.offer([ONE], default=MODEL.model)

        assert await _listed(client) == {MODEL.model: True}
        assert (await client.get(styled.id)).model == "tiny+style"
        async with refused(grpc.StatusCode.NOT_FOUND, f"there is {MODEL.model}"):
            await client.create(model="tiny+style")
        for asked in ("", MODEL.model):
            async with refused(grpc.StatusCode.FAILED_PRECONDITION, "tiny+style made the video, and is not served"):
                await client.extend(styled.id, model=asked)

        catalog.offer([OTHER], default="tiny+style")
        assert (await client.ended(await client.extend(styled.id))).model == "tiny+style"


async def test_a_job_whose_model_went_says_so_before_a_director_does(tmp_path: Path) -> None:
    catalog = Catalog([ONE, OTHER], default=MODEL.model)
    async with opened(settings_for(tmp_path), catalog) as client:
        jobs: jobs_pb2_grpc.JobsAsyncStub = jobs_pb2_grpc.JobsStub(client.channel)
        styled = await client.create("hang", model="tiny+style")
        ended = await client.made(model="tiny+style")
        catalog.offer([ONE], default=MODEL.model)

        for id_, why in ((styled.id, "its model tiny+style is not served here"), (ended.id, "")):
            assert (await jobs.ExplainJob(jobs_pb2.ExplainJobRequest(id=id_))).why == why
        (listed,) = (await jobs.ListJobs(jobs_pb2.ListJobsRequest())).jobs
        assert (listed.why, listed.HasField("predicted_end_time")) == ("its model tiny+style is not served here", False)
