"""Whatever a client sends, on both wires and to every method: an answer, or a refusal that a user can act on.

INTERNAL is a fault of ours, and UNKNOWN one that nobody looked at.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from serving.client import CallFailed, Client, create_request
from serving.client.errors import failure_of
from serving.gen.longtake.v1 import files_pb2, jobs_pb2, models_pb2, videos_pb2
from serving.gen.xai.api.v1 import auth_pb2, batch_pb2, image_pb2, video_pb2
from serving.gen.xai.api.v1 import files_pb2 as xai_files_pb2
from serving.gen.xai.api.v1 import models_pb2 as xai_models_pb2
from tests.contract.door_apart import door_apart
from tests.contract.fuzzing import FUZZED, WORDS, messages

FILES = (
    *(videos_pb2, files_pb2, jobs_pb2, models_pb2),
    *(video_pb2, image_pb2, xai_files_pb2, xai_models_pb2, auth_pb2, batch_pb2),
)
METHODS = [
    method for file in FILES for service in file.DESCRIPTOR.services_by_name.values() for method in service.methods
]
WAIT = ("GenerateImage", "WatchVideo")
"""They answer when something is made, which may be never."""
FAULTS = (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DATA_LOSS)


class Wire:
    """A door, and ids of what is there."""

    def __init__(self, address: str, folder: Path) -> None:
        self.channel = grpc.insecure_channel(address)
        with Client(address) as client:
            video = client.wait(client.create(create_request("there", seconds=1)).id, timeout_s=60)
            picture = folder / "cat.png"
            Image.new("RGB", (8, 8)).save(picture, "PNG")
            file = client.upload(picture)
        self.words = (*WORDS, video.id, file.id, video.url, video.segments[0])

    def refusal(self, method: MethodDescriptor, requests: list[Message]) -> CallFailed | None:
        """How it is refused; None where it is answered."""
        try:
            self._ask(method, requests)
        except grpc.RpcError as error:
            return failure_of(error)
        return None

    def _ask(self, method: MethodDescriptor, requests: list[Message]) -> None:
        kind = GetMessageClass(method.input_type)
        path = f"/{method.containing_service.full_name}/{method.name}"
        coders: dict[str, Any] = {
            "request_serializer": kind.SerializeToString,
            "response_deserializer": GetMessageClass(method.output_type).FromString,
        }
        timeout = 0.3 if method.name in WAIT else 30
        if method.client_streaming:
            self.channel.stream_unary(path, **coders)(iter(requests), timeout=timeout)
        elif method.server_streaming:
            list(self.channel.unary_stream(path, **coders)(requests[0], timeout=timeout))
        else:
            self.channel.unary_unary(path, **coders)(requests[0], timeout=timeout)


@pytest.fixture(scope="module")
def wire(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wire]:
    folder = tmp_path_factory.mktemp("door")
    with door_apart(folder) as address:
        yield Wire(address, folder)


@FUZZED
@given(st.data())
def test_any_request_is_answered_or_refused_with_a_reason(wire: Wire, data: st.DataObject) -> None:
    method = data.draw(st.sampled_from(METHODS), label="method")
    most = 3 if method.client_streaming else 1
    requests = data.draw(st.lists(messages(method.input_type, wire.words), min_size=1, max_size=most), label="requests")
    refusal = wire.refusal(method, requests)
    if refusal is None:
        return
    if refusal.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
        assert method.name in WAIT
        return
    assert refusal.code() not in FAULTS, str(refusal)
    assert refusal.reason
    if refusal.code() is grpc.StatusCode.INVALID_ARGUMENT:
        assert refusal.violations[0].field
