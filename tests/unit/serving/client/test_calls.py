"""The table of calls against the protos, and what makes a call one that may be sent twice."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from google.protobuf.descriptor import MethodDescriptor

from serving.client import calls
from serving.client.calls import UPLOAD, Call
from serving.gen.longtake.v1 import files_pb2, jobs_pb2, models_pb2, videos_pb2

ASKED = videos_pb2.CreateVideoRequest(prompt="x")
ALL: list[Call[Any]] = [
    calls.create(ASKED), calls.plan(ASKED), calls.get("v"), calls.list_videos(5, ""), calls.cancel("v"),
    calls.watch("v", "", previews=False), calls.delete("v"), calls.lineage("v", ""), calls.get_file("f"),
    calls.segments("v", 3, 5, ""),
    calls.list_files(5, ""), calls.download_file("f"), calls.delete_file("f"), calls.list_jobs(dead=False, token=""),
    calls.explain("v"), calls.requeue("v"),
    calls.requeue_page(jobs_pb2.RequeueJobsRequest(), 5, ""), calls.list_models(), calls.get_model("m"),
]  # fmt: skip


def methods() -> Iterator[tuple[str, MethodDescriptor]]:
    for module in (files_pb2, jobs_pb2, models_pb2, videos_pb2):
        for service in module.DESCRIPTOR.services_by_name.values():
            for method in service.methods:
                yield f"/{service.full_name}/{method.name}", method


def test_every_method_of_the_api_has_its_call_and_no_call_leads_nowhere() -> None:
    assert {call.path for call in ALL} | {UPLOAD} == {path for path, _ in methods()}


def test_each_call_sends_and_reads_what_the_protos_say() -> None:
    table = dict(methods())
    for call in ALL:
        method = table[call.path]
        assert (method.input_type, method.output_type) == (call.request.DESCRIPTOR, call.answer.DESCRIPTOR), call.path
        assert not (method.server_streaming and call.repeatable), call.path


def test_a_create_gets_an_id_of_its_own_and_keeps_one_that_it_has() -> None:
    first, second = calls.create(ASKED).request, calls.create(ASKED).request
    assert isinstance(first, videos_pb2.CreateVideoRequest)
    assert isinstance(second, videos_pb2.CreateVideoRequest)
    assert len({first.request_id, second.request_id, ""}) == 3
    assert not ASKED.request_id
    named = videos_pb2.CreateVideoRequest(request_id="mine")
    assert calls.create(named).request == named


def test_a_plan_leaves_the_request_as_it_was() -> None:
    planned = calls.plan(ASKED).request
    assert isinstance(planned, videos_pb2.CreateVideoRequest)
    assert (planned.validate_only, ASKED.validate_only) == (True, False)
