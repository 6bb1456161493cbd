"""What the client raises, in one tree. Both forms use it; no error of gRPC or httpx leaves them bare.

    ClientError
     ├─ CallFailed              the server refused or did not answer; every other status code is this class itself
     │   ├─ InvalidArgument     a field is wrong: `violations` names it, the reason and what is supported
     │   ├─ NotFound            no such thing, or it belongs to another tenant
     │   ├─ AlreadyExists       the same request id with another request
     │   ├─ FailedPrecondition  right request, wrong moment
     │   ├─ Unauthenticated     no API key, or an unknown one
     │   ├─ PermissionDenied    a key that may not do this
     │   ├─ ResourceExhausted   a quota or a bound: `retry_after_s` says when to come back
     │   ├─ Unavailable         no server answers, or it is shutting down
     │   └─ DeadlineExceeded    the call took longer than it was given; it says nothing of a video's own deadline
     ├─ Unsendable              an argument that no request can carry: nothing was sent; a `ValueError` too
     ├─ WaitTimeout             `wait` ran out of time; the video goes on
     └─ DownloadFailed          media could not be fetched or saved whole
         └─ NothingToDownload   the video has no media (yet)

The original error is the `__cause__`. A local file that cannot be read or written is an `OSError` as anywhere.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import cast

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from serving.gen.longtake.v1.videos_pb2 import Video

_DETAILS = "grpc-status-details-bin"


class ClientError(Exception):
    """The root of the tree. The message is for people."""


@dataclass(frozen=True)
class Violation:
    """A field of a request that is wrong, by its name in the proto, and why."""

    field: str
    description: str


class CallFailed(ClientError, grpc.RpcError):
    """A call that the server refused or did not answer.

    It is a `grpc.RpcError` too, with its `code()` and `details()`: who catches those of a stub catches these.
    """

    def __init__(
        self,
        code: grpc.StatusCode,
        message: str,
        *,
        reason: str = "",
        violations: tuple[Violation, ...] = (),
        retry_after_s: float | None = None,
        incident: str = "",
    ) -> None:
        super().__init__(message or code.name)
        self.message = message or code.name
        self._code = code
        self.reason = reason
        """A stable UPPER_SNAKE word for machines; empty where what answered is not Longtake."""
        self.violations = violations
        self.retry_after_s = retry_after_s
        """When the server asks to come back; None where it did not say."""
        self.incident = incident
        """Under which an operator finds an internal error in the server's log."""

    def code(self) -> grpc.StatusCode:
        """The status code."""
        return self._code

    def details(self) -> str:
        """The message, by gRPC's name for it."""
        return self.message


class InvalidArgument(CallFailed):
    """A field is wrong."""


class NotFound(CallFailed):
    """No such thing."""


class AlreadyExists(CallFailed):
    """The same request id with another request."""


class FailedPrecondition(CallFailed):
    """Right request, wrong moment."""


class Unauthenticated(CallFailed):
    """No API key, or an unknown one."""


class PermissionDenied(CallFailed):
    """This key may not do that."""


class ResourceExhausted(CallFailed):
    """A quota or a bound was reached."""


class Unavailable(CallFailed):
    """No server answers, or it is shutting down."""


class DeadlineExceeded(CallFailed):
    """The call took longer than it was given."""


class Unsendable(ClientError, ValueError):
    """An argument that no request can carry, by its name. Nothing was sent."""


class WaitTimeout(ClientError):
    """`wait` ran out of time. Nothing was cancelled."""

    def __init__(self, id: str, timeout_s: float, video: Video | None) -> None:  # noqa: A002  (its name everywhere)
        state = Video.State.Name(video.state).lower() if video else "not heard of"
        super().__init__(f"{id} has not ended after {timeout_s:g} s: it is {state}, and goes on; wait again, or cancel")
        self.id = id
        self.video = video
        """As it was last heard of; None where nothing was."""


class DownloadFailed(ClientError):
    """Media could not be fetched or saved whole."""


class NothingToDownload(DownloadFailed):
    """The video has no media (yet)."""


_KINDS: dict[grpc.StatusCode, type[CallFailed]] = {
    grpc.StatusCode.INVALID_ARGUMENT: InvalidArgument,
    grpc.StatusCode.NOT_FOUND: NotFound,
    grpc.StatusCode.ALREADY_EXISTS: AlreadyExists,
    grpc.StatusCode.FAILED_PRECONDITION: FailedPrecondition,
    grpc.StatusCode.UNAUTHENTICATED: Unauthenticated,
    grpc.StatusCode.PERMISSION_DENIED: PermissionDenied,
    grpc.StatusCode.RESOURCE_EXHAUSTED: ResourceExhausted,
    grpc.StatusCode.UNAVAILABLE: Unavailable,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceeded,
}


def failure_of(error: grpc.RpcError) -> CallFailed:
    """gRPC's error of either form as one of this tree, with what the server's details say."""
    call = cast(grpc.Call, error)
    code = call.code()
    info, bad, retry = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest(), error_details_pb2.RetryInfo()
    for detail in _status(call.trailing_metadata() or ()).details:
        for message in (info, bad, retry):
            detail.Unpack(message)
    failure = _KINDS.get(code, CallFailed)(
        code,
        call.details() or "",
        reason=info.reason,
        violations=tuple(Violation(found.field, found.description) for found in bad.field_violations),
        retry_after_s=retry.retry_delay.ToMilliseconds() / 1000 if retry.HasField("retry_delay") else None,
        incident=info.metadata.get("incident", ""),
    )
    failure.__cause__ = error
    return failure


def _status(metadata: Iterable[tuple[str, str | bytes]]) -> status_pb2.Status:
    """The details as they came; none where something between the server and us wrote its own."""
    for name, value in metadata:
        if name == _DETAILS and isinstance(value, bytes):
            try:
                return status_pb2.Status.FromString(value)
            except DecodeError:
                break
    return status_pb2.Status()
