"""From gRPC's errors to the client's own."""

from __future__ import annotations

import grpc
import grpc.aio
import pytest
from google.protobuf import any_pb2
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from serving import client
from serving.client.errors import CallFailed, failure_of


def rpc_error(code: grpc.StatusCode, *details: Message, raw: bytes | None = None) -> grpc.aio.AioRpcError:
    status = status_pb2.Status(code=code.value[0], message="m")
    for detail in details:
        packed = any_pb2.Any()
        packed.Pack(detail)
        status.details.append(packed)
    trailing = grpc.aio.Metadata(("grpc-status-details-bin", status.SerializeToString() if raw is None else raw))
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), trailing, details="what is wrong")


def test_reason_fields_and_time_to_come_back_are_kept() -> None:
    retry = error_details_pb2.RetryInfo()
    retry.retry_delay.FromMilliseconds(1500)
    fields = [error_details_pb2.BadRequest.FieldViolation(field="seconds", description="at most 15")]
    error = rpc_error(
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        error_details_pb2.ErrorInfo(reason="QUEUE_FULL", metadata={"incident": "inc_1"}),
        error_details_pb2.BadRequest(field_violations=fields),
        retry,
    )
    found = failure_of(error)
    assert isinstance(found, client.ResourceExhausted)
    assert (found.code(), found.reason, found.retry_after_s) == (error.code(), "QUEUE_FULL", 1.5)
    assert found.violations == (client.Violation("seconds", "at most 15"),)
    assert found.incident == "inc_1"
    assert found.__cause__ is error
    assert str(found) == "what is wrong"


def test_who_catches_the_errors_of_a_stub_catches_those_of_the_client() -> None:
    with pytest.raises(grpc.RpcError) as caught:
        raise failure_of(rpc_error(grpc.StatusCode.NOT_FOUND))
    assert isinstance(caught.value, CallFailed)
    assert (caught.value.code(), caught.value.details()) == (grpc.StatusCode.NOT_FOUND, "what is wrong")


@pytest.mark.parametrize("code", list(grpc.StatusCode), ids=lambda code: code.name)
def test_every_code_has_a_class_of_the_tree(code: grpc.StatusCode) -> None:
    found = failure_of(rpc_error(code))
    assert isinstance(found, CallFailed)
    assert (found.code(), found.reason, found.violations, found.retry_after_s) == (code, "", (), None)


def test_details_that_nobody_can_read_do_not_hide_the_error() -> None:
    found = failure_of(rpc_error(grpc.StatusCode.NOT_FOUND, raw=b"\xff\xff\xff"))
    assert isinstance(found, client.NotFound)
    assert str(found) == "what is wrong"
