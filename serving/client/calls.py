"""Every call of `longtake.v1` that the client makes: where it goes, what it says, and whether it may be said twice.

Pure: `sync.py` and `aio.py` send these, each in its own way. A test holds the table against the protos.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from google.protobuf.message import Message

from serving.client.requests import only_planned, resendable
from serving.gen.longtake.v1 import files_pb2, jobs_pb2, models_pb2, videos_pb2

Answer = TypeVar("Answer", bound=Message)
MOST = 100
"""Items of a page, at most."""
LINEAGE_PAGE = 1000
"""Segments of a page of a lineage, at most."""
UPLOAD = "/longtake.v1.Files/UploadFile"


@dataclass(frozen=True)
class Call(Generic[Answer]):
    """One call, ready to be sent."""

    path: str
    request: Message
    answer: type[Answer]
    """Of each message that comes back: one, or a stream of them."""
    repeatable: bool = True
    """Sent twice it does no more than sent once, and answers the same."""


def create(request: videos_pb2.CreateVideoRequest) -> Call[videos_pb2.Video]:
    """Repeatable by its request id."""
    return Call("/longtake.v1.Videos/CreateVideo", resendable(request), videos_pb2.Video)


def plan(request: videos_pb2.CreateVideoRequest) -> Call[videos_pb2.Video]:
    return Call("/longtake.v1.Videos/CreateVideo", only_planned(request), videos_pb2.Video)


def get(video: str) -> Call[videos_pb2.Video]:
    return Call("/longtake.v1.Videos/GetVideo", videos_pb2.GetVideoRequest(id=video), videos_pb2.Video)


def list_videos(size: int, token: str) -> Call[videos_pb2.ListVideosResponse]:
    request = videos_pb2.ListVideosRequest(page_size=min(size, MOST), page_token=token)
    return Call("/longtake.v1.Videos/ListVideos", request, videos_pb2.ListVideosResponse)


def videos_in(page: videos_pb2.ListVideosResponse) -> tuple[Sequence[videos_pb2.Video], str]:
    """What a page holds, and the token of the next one; empty at the end."""
    return page.videos, page.next_page_token


def watch(video: str, cursor: str, *, previews: bool) -> Call[videos_pb2.WatchVideoResponse]:
    """A stream. Not repeated as it is: a lost one is opened again from its newest cursor."""
    request = videos_pb2.WatchVideoRequest(id=video, cursor=cursor, previews=previews)
    return Call("/longtake.v1.Videos/WatchVideo", request, videos_pb2.WatchVideoResponse, repeatable=False)


def cancel(video: str) -> Call[videos_pb2.Video]:
    return Call("/longtake.v1.Videos/CancelVideo", videos_pb2.CancelVideoRequest(id=video), videos_pb2.Video)


def delete(video: str) -> Call[videos_pb2.DeleteVideoResponse]:
    """A second one would answer NOT_FOUND."""
    request = videos_pb2.DeleteVideoRequest(id=video)
    return Call("/longtake.v1.Videos/DeleteVideo", request, videos_pb2.DeleteVideoResponse, repeatable=False)


def lineage(video: str, token: str) -> Call[videos_pb2.Lineage]:
    """A page."""
    request = videos_pb2.GetLineageRequest(id=video, page_size=LINEAGE_PAGE, page_token=token)
    return Call("/longtake.v1.Videos/GetLineage", request, videos_pb2.Lineage)


def segments(video: str, skip: int, size: int, token: str) -> Call[videos_pb2.Lineage]:
    """A page of segments with what each was shown, after the first `skip` of the path."""
    request = videos_pb2.GetLineageRequest(
        id=video,
        page_size=min(size, MOST),
        page_token=token,
        view=videos_pb2.LINEAGE_VIEW_HISTORY,
        skip=0 if token else skip,
    )
    return Call("/longtake.v1.Videos/GetLineage", request, videos_pb2.Lineage)


def segments_in(page: videos_pb2.Lineage) -> tuple[Sequence[videos_pb2.Segment], str]:
    """As `videos_in`."""
    return page.segments, page.next_page_token


def joined(pages: Sequence[videos_pb2.Lineage]) -> videos_pb2.Lineage:
    """The whole, of all its pages. A video that runs grows meanwhile: the last page knows how long it has become."""
    whole = videos_pb2.Lineage(segments=[segment for page in pages for segment in page.segments])
    if pages[-1].HasField("duration"):
        whole.duration.CopyFrom(pages[-1].duration)
    return whole


def get_file(file: str) -> Call[files_pb2.File]:
    return Call("/longtake.v1.Files/GetFile", files_pb2.GetFileRequest(id=file), files_pb2.File)


def list_files(size: int, token: str) -> Call[files_pb2.ListFilesResponse]:
    request = files_pb2.ListFilesRequest(page_size=min(size, MOST), page_token=token)
    return Call("/longtake.v1.Files/ListFiles", request, files_pb2.ListFilesResponse)


def files_in(page: files_pb2.ListFilesResponse) -> tuple[Sequence[files_pb2.File], str]:
    """As `videos_in`."""
    return page.files, page.next_page_token


def download_file(file: str) -> Call[files_pb2.DownloadFileResponse]:
    """A stream, from the beginning."""
    request = files_pb2.DownloadFileRequest(id=file)
    return Call("/longtake.v1.Files/DownloadFile", request, files_pb2.DownloadFileResponse, repeatable=False)


def delete_file(file: str) -> Call[files_pb2.DeleteFileResponse]:
    """A second one would answer NOT_FOUND."""
    request = files_pb2.DeleteFileRequest(id=file)
    return Call("/longtake.v1.Files/DeleteFile", request, files_pb2.DeleteFileResponse, repeatable=False)


def list_jobs(*, dead: bool, token: str) -> Call[jobs_pb2.ListJobsResponse]:
    request = jobs_pb2.ListJobsRequest(dead=dead, page_token=token)
    return Call("/longtake.v1.Jobs/ListJobs", request, jobs_pb2.ListJobsResponse)


def explain(video: str) -> Call[jobs_pb2.JobHistory]:
    return Call("/longtake.v1.Jobs/ExplainJob", jobs_pb2.ExplainJobRequest(id=video), jobs_pb2.JobHistory)


def requeue(video: str) -> Call[videos_pb2.Video]:
    """Asking twice gives the same new video."""
    return Call("/longtake.v1.Jobs/RequeueJob", jobs_pb2.RequeueJobRequest(id=video), videos_pb2.Video)


def requeue_page(request: jobs_pb2.RequeueJobsRequest, size: int, token: str) -> Call[jobs_pb2.RequeueJobsResponse]:
    """A second one does nothing twice, but would not tell of what the first one did."""
    page = jobs_pb2.RequeueJobsRequest(page_size=min(size, MOST), page_token=token)
    page.MergeFrom(request)
    return Call("/longtake.v1.Jobs/RequeueJobs", page, jobs_pb2.RequeueJobsResponse, repeatable=False)


def requeued_in(page: jobs_pb2.RequeueJobsResponse) -> tuple[Sequence[jobs_pb2.RequeuedJob], str]:
    """As `videos_in`."""
    return page.jobs, page.next_page_token


def list_models() -> Call[models_pb2.ListModelsResponse]:
    return Call("/longtake.v1.Models/ListModels", models_pb2.ListModelsRequest(), models_pb2.ListModelsResponse)


def get_model(name: str) -> Call[models_pb2.Model]:
    return Call("/longtake.v1.Models/GetModel", models_pb2.GetModelRequest(name=name), models_pb2.Model)
