"""A gRPC server that speaks Triton's protocol and can be told to lie, to fail, to be silent and to forget.

What a sound server does, the tests of the real one show (`tests/integration/test_triton.py`).
"""

from __future__ import annotations

import mmap
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc import service_pb2_grpc as rpc

NAME = "doubler-0123456789ab-ba9876543210"


def face() -> Any:
    """Of the doubler: y [B, 3] = 2 x [B, 3] + i [B]."""
    tensor = pb.ModelMetadataResponse.TensorMetadata
    return pb.ModelMetadataResponse(
        name=NAME,
        inputs=[
            tensor(name="i", datatype="INT64", shape=[-1]),
            tensor(name="x", datatype="FP32", shape=[-1, 3]),
        ],
        outputs=[tensor(name="y", datatype="FP32", shape=[-1, 3])],
    )


@dataclass
class Service(rpc.GRPCInferenceServiceServicer):  # type: ignore[misc]  # the client's package has no types
    """One model. Every field may be changed between two calls."""

    metadata: Any = field(default_factory=face)
    wrong: Callable[[Any], None] = lambda _: None
    """Changes each answer."""
    fails: tuple[grpc.StatusCode, str] | None = None
    """What each call of the model ends with."""
    maps: bool = True
    """Whether it takes shared memory."""
    silent: threading.Event | None = None
    """Calls of the model wait for it."""
    silent_to_all: bool = False
    """Whether everybody waits for it."""
    regions: dict[str, mmap.mmap] = field(default_factory=dict)
    calls: list[Any] = field(default_factory=list)
    """Requests, as they came."""

    def ServerLive(self, request: Any, context: Any) -> Any:  # noqa: N802
        if self.silent is not None and self.silent_to_all:
            self.silent.wait()
        return pb.ServerLiveResponse(live=True)

    def ModelMetadata(self, request: Any, context: Any) -> Any:  # noqa: N802
        if request.name != NAME:
            context.abort(grpc.StatusCode.NOT_FOUND, f"unknown model: '{request.name}'\nis not found")
        return self.metadata

    def SystemSharedMemoryRegister(self, request: Any, context: Any) -> Any:  # noqa: N802
        if not self.maps:
            context.abort(grpc.StatusCode.INTERNAL, "Unable to open shared memory region")
        with Path("/dev/shm", request.key.removeprefix("/")).open("r+b") as file:
            self.regions[request.name] = mmap.mmap(file.fileno(), request.byte_size)
        return pb.SystemSharedMemoryRegisterResponse()

    def SystemSharedMemoryUnregister(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.regions.pop(request.name).close()
        return pb.SystemSharedMemoryUnregisterResponse()

    def SystemSharedMemoryStatus(self, request: Any, context: Any) -> Any:  # noqa: N802
        status = pb.SystemSharedMemoryStatusResponse
        return status(regions={name: status.RegionStatus(name=name) for name in self.regions})

    def ModelInfer(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.calls.append(request)
        if self.silent is not None:
            self.silent.wait()
        if self.fails is not None:
            context.abort(*self.fails)
        sent = iter(request.raw_input_contents)
        x, i = (self._value(tensor, sent, context) for tensor in sorted(request.inputs, key=lambda one: -ord(one.name)))
        y = (2 * x + i[:, None]).astype(np.float32)
        answer = pb.ModelInferResponse(model_name=NAME)
        answer.outputs.add(name="y", datatype="FP32", shape=y.shape)
        answer.raw_output_contents.append(self._put(request.outputs[0], y.tobytes()))
        self.wrong(answer)
        return answer

    def _value(self, tensor: Any, sent: Iterator[bytes], context: Any) -> Any:
        dtype = {"FP32": np.float32, "INT64": np.int64}[tensor.datatype]
        place = tensor.parameters
        if "shared_memory_region" not in place:
            return np.frombuffer(next(sent), dtype).reshape(tensor.shape)
        name = place["shared_memory_region"].string_param
        if name not in self.regions:
            context.abort(grpc.StatusCode.NOT_FOUND, f"Unable to find shared memory region: '{name}'")
        begin, size = place["shared_memory_offset"].int64_param, place["shared_memory_byte_size"].int64_param
        return np.frombuffer(bytes(self.regions[name][begin : begin + size]), dtype).reshape(tensor.shape)

    def _put(self, output: Any, data: bytes) -> bytes:
        place = output.parameters
        if "shared_memory_region" not in place:
            return data
        begin = place["shared_memory_offset"].int64_param
        self.regions[place["shared_memory_region"].string_param][begin : begin + len(data)] = data
        return b""


@contextmanager
def running(service: Service) -> Iterator[str]:
    """Its address."""
    server = grpc.server(ThreadPoolExecutor(8))
    rpc.add_GRPCInferenceServiceServicer_to_server(service, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        if service.silent is not None:
            service.silent.set()
        server.stop(None).wait()
