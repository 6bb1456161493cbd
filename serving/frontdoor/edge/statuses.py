"""From Longtake's errors to a gRPC status with `google.rpc` details. `rpc.py` calls it; nothing else does.

InvalidArgument                   → INVALID_ARGUMENT, + BadRequest(field)
ResourceExhausted, Unavailable    → + RetryInfo
every error                       → + ErrorInfo(reason, domain `longtake.dev`)
"""

from __future__ import annotations

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from serving import errors

DOMAIN = "longtake.dev"
_MOST_BYTES = 700
DETAILS_METADATA = "grpc-status-details-bin"

_CODES: dict[type[errors.LongtakeError], grpc.StatusCode] = {
    errors.InvalidArgument: grpc.StatusCode.INVALID_ARGUMENT,
    errors.NotFound: grpc.StatusCode.NOT_FOUND,
    errors.AlreadyExists: grpc.StatusCode.ALREADY_EXISTS,
    errors.FailedPrecondition: grpc.StatusCode.FAILED_PRECONDITION,
    errors.Unauthenticated: grpc.StatusCode.UNAUTHENTICATED,
    errors.PermissionDenied: grpc.StatusCode.PERMISSION_DENIED,
    errors.Unimplemented: grpc.StatusCode.UNIMPLEMENTED,
    errors.ResourceExhausted: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.Unavailable: grpc.StatusCode.UNAVAILABLE,
    errors.Conflict: grpc.StatusCode.ABORTED,
    errors.StoreUnfit: grpc.StatusCode.UNAVAILABLE,
    errors.Corrupt: grpc.StatusCode.DATA_LOSS,
    errors.EngineMissing: grpc.StatusCode.FAILED_PRECONDITION,
}


def code_of(error: errors.LongtakeError) -> grpc.StatusCode:
    """The gRPC code of an error."""
    return next((_CODES[kind] for kind in type(error).__mro__ if kind in _CODES), grpc.StatusCode.INTERNAL)


def told(message: str) -> str:
    """What a client is told of a message: all of it, or its ends where it repeats a text of the client's that is long.
    Statuses travel in headers, where 8 KB are the most that all clients take, each letter up to nine times.
    """
    if len(message.encode()) <= _MOST_BYTES:
        return message
    half = _MOST_BYTES // 2
    begin, end = message[:half].encode()[:half], message[-half:].encode()[-half:]
    return f"{begin.decode(errors='ignore')} ... {end.decode(errors='ignore')}"


def details_of(error: errors.LongtakeError) -> tuple[tuple[str, bytes], ...]:
    """Trailing metadata that carries the error as `google.rpc.Status`."""
    packed: list[Message] = [error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN)]
    if isinstance(error, errors.InvalidArgument):
        violation = error_details_pb2.BadRequest.FieldViolation(field=error.field, description=told(error.description))
        packed.append(error_details_pb2.BadRequest(field_violations=[violation]))
    if isinstance(error, errors.ResourceExhausted | errors.Unavailable) and error.retry_after_s is not None:
        delay = duration_pb2.Duration()
        delay.FromMilliseconds(round(error.retry_after_s * 1000))
        packed.append(error_details_pb2.RetryInfo(retry_delay=delay))
    return _status(code_of(error), told(error.message), packed)


def incident_details(incident: str, message: str) -> tuple[tuple[str, bytes], ...]:
    """Trailing metadata of an unexpected failure: only its incident id leaves the house."""
    info = error_details_pb2.ErrorInfo(reason="INTERNAL", domain=DOMAIN, metadata={"incident": incident})
    return _status(grpc.StatusCode.INTERNAL, message, [info])


def _status(code: grpc.StatusCode, message: str, packed: list[Message]) -> tuple[tuple[str, bytes], ...]:
    status = status_pb2.Status(code=code.value[0], message=message)
    for detail in packed:
        wrapped = any_pb2.Any()
        wrapped.Pack(detail)
        status.details.append(wrapped)
    return ((DETAILS_METADATA, status.SerializeToString()),)
