"""A typed client of `longtake.v1`, sync (`Client`) and async (`AsyncClient`), each complete. The CLI, the demo, load
tests and programs of others use it; it knows nothing of the server but the protos.

    >>> with Client(server) as client:
    ...     made = client.create(create_request("a red bar moves right under a white sky", seconds=1))
    ...     for event in client.watch(made.id):
    ...         kind = event.WhichOneof("event")  # video, segment, preview
    ...     done = client.wait(made.id, timeout_s=60)
    ...     size = client.download(done.id, folder / "circle.mp4")
    >>> Video.State.Name(done.state)
    'SUCCEEDED'

The same with asyncio:

    >>> async with AsyncClient(server) as client:
    ...     longer = await client.create(create_request(seconds=1, extends=Extension(video_id=done.id)))
    ...     done = await client.wait(longer.id, progress=lambda video: None)
    ...     size = await client.download(done.id, folder / "longer.mp4")
    >>> done.frames
    33

Answers are the messages of the protos. Failures are one small tree (`errors.py`) that keeps status code, reason, fields
and when to come back. Those of calls are `grpc.RpcError`s too.

    >>> try:
    ...     Client(server).plan(create_request("a red bar", seconds=99))
    ... except InvalidArgument as error:
    ...     error.violations[0].field
    'seconds'

Creates carry a `request_id`, so that a resent one makes nothing twice. A watch that loses its connection goes on from
its cursor. Disconnecting never cancels a video; `cancel` does.
"""

from serving.client.aio import AsyncClient
from serving.client.attempts import ENDED
from serving.client.errors import (
    AlreadyExists,
    CallFailed,
    ClientError,
    DeadlineExceeded,
    DownloadFailed,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    NothingToDownload,
    PermissionDenied,
    ResourceExhausted,
    Unauthenticated,
    Unavailable,
    Unsendable,
    Violation,
    WaitTimeout,
)
from serving.client.options import DEFAULT_SERVER
from serving.client.requests import create_request
from serving.client.sync import Client
from serving.gen.longtake.v1.jobs_pb2 import RequeueJobsRequest
from serving.gen.longtake.v1.videos_pb2 import Extension, Media, Video

__all__ = [
    "DEFAULT_SERVER",
    "ENDED",
    "AlreadyExists",
    "AsyncClient",
    "CallFailed",
    "Client",
    "ClientError",
    "DeadlineExceeded",
    "DownloadFailed",
    "Extension",
    "FailedPrecondition",
    "InvalidArgument",
    "Media",
    "NotFound",
    "NothingToDownload",
    "PermissionDenied",
    "RequeueJobsRequest",
    "ResourceExhausted",
    "Unauthenticated",
    "Unavailable",
    "Unsendable",
    "Video",
    "Violation",
    "WaitTimeout",
    "create_request",
]
