"""States and answers of the public wire that its own client cannot bring about, by bare stubs."""

from __future__ import annotations

import time
from collections.abc import Iterator

import grpc
import httpx
import pytest

from serving.gen.longtake.v1 import videos_pb2, videos_pb2_grpc
from serving.gen.xai.api.v1 import (
    deferred_pb2,
    files_pb2,
    files_pb2_grpc,
    image_pb2,
    video_pb2,
    video_pb2_grpc,
)
from serving.gen.xai.api.v1.image_pb2_grpc import ImageStub
from tests.contract.xai_door import XaiDoor


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[XaiDoor]:
    with XaiDoor(tmp_path_factory.mktemp("door")) as opened:
        yield opened


@pytest.fixture(scope="module")
def channel(door: XaiDoor) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(f"127.0.0.1:{door.grpc_port}") as opened:
        yield opened


@pytest.fixture(scope="module")
def video(channel: grpc.Channel) -> video_pb2_grpc.VideoStub:
    return video_pb2_grpc.VideoStub(channel)


def poll(stub: video_pb2_grpc.VideoStub, request_id: str) -> video_pb2.GetDeferredVideoResponse:
    """The first answer that is not PENDING."""
    while True:
        answer = stub.GetDeferredVideo(video_pb2.GetDeferredVideoRequest(request_id=request_id))
        if answer.status != deferred_pb2.PENDING:
            return answer
        time.sleep(0.02)


def make(stub: video_pb2_grpc.VideoStub, prompt: str = "x", **fields: object) -> str:
    started = stub.GenerateVideo(video_pb2.GenerateVideoRequest(prompt=prompt, duration=1, **fields))  # type: ignore[arg-type]
    return started.request_id


def code_of(caught: pytest.ExceptionInfo[grpc.RpcError]) -> tuple[grpc.StatusCode, str]:
    return caught.value.code(), str(caught.value.details())


def test_an_idempotency_key_makes_a_start_that_is_sent_twice_one_video(
    video: video_pb2_grpc.VideoStub, channel: grpc.Channel
) -> None:
    key = (("idempotency-key", "order-67"),)
    request = video_pb2.GenerateVideoRequest(prompt="x", duration=1)
    first = video.GenerateVideo(request, metadata=key)
    assert video.GenerateVideo(request, metadata=key).request_id == first.request_id
    request.prompt = "y"
    with pytest.raises(grpc.RpcError) as caught:
        video.GenerateVideo(request, metadata=key)
    assert code_of(caught)[0] is grpc.StatusCode.ALREADY_EXISTS

    image = image_pb2.GenerateImageRequest(prompt="x", n=1)
    again = (("idempotency-key", "order-68"),)
    urls = [ImageStub(channel).GenerateImage(image, metadata=again).images[0].url for _ in range(2)]
    assert len({url.partition("?")[0] for url in urls}) == 1


def test_a_cancelled_video_is_a_failed_one_that_says_so(
    door: XaiDoor, channel: grpc.Channel, video: video_pb2_grpc.VideoStub
) -> None:
    door.director.open = False
    try:
        waiting = make(video)
        pending = video.GetDeferredVideo(video_pb2.GetDeferredVideoRequest(request_id=waiting))
        videos_pb2_grpc.VideosStub(channel).CancelVideo(videos_pb2.CancelVideoRequest(id=waiting))
    finally:
        door.director.open = True

    answer = poll(video, waiting)
    assert (pending.status, pending.response.progress) == (deferred_pb2.PENDING, 0)
    assert (answer.status, answer.response.error.code) == (deferred_pb2.FAILED, "failed_precondition")
    assert "cancelled" in answer.response.error.message


def test_a_deleted_video_is_gone_from_polls_and_from_its_url(
    door: XaiDoor, channel: grpc.Channel, video: video_pb2_grpc.VideoStub
) -> None:
    made = make(video)
    url = poll(video, made).response.video.url
    assert httpx.head(url).status_code == 200

    videos_pb2_grpc.VideosStub(channel).DeleteVideo(videos_pb2.DeleteVideoRequest(id=made))

    with pytest.raises(grpc.RpcError) as caught:
        poll(video, made)
    assert code_of(caught)[0] is grpc.StatusCode.NOT_FOUND
    assert httpx.head(url).status_code == 404


def test_polls_within_a_minute_are_the_same_answer(video: video_pb2_grpc.VideoStub) -> None:
    made = make(video)
    answers = {poll(video, made).response.video.url for _ in range(5)}
    # A minute may end in between.
    assert len(answers) <= 2


def test_media_that_name_nothing_are_refused(channel: grpc.Channel, video: video_pb2_grpc.VideoStub) -> None:
    for request, want_field in (
        (video_pb2.GenerateVideoRequest(image=image_pb2.ImageUrlContent()), "image"),
        (
            video_pb2.GenerateVideoRequest(reference_images=[image_pb2.ImageUrlContent()]),
            "reference_images[0]",
        ),
    ):
        with pytest.raises(grpc.RpcError) as caught:
            video.GenerateVideo(request)
        assert code_of(caught)[0] is grpc.StatusCode.INVALID_ARGUMENT
        assert code_of(caught)[1].startswith(f"{want_field}: ")
    with pytest.raises(grpc.RpcError) as caught:
        video.ExtendVideo(video_pb2.ExtendVideoRequest(prompt="x"))
    assert code_of(caught)[1].startswith("video: ")


def test_an_image_job_is_no_video(channel: grpc.Channel, video: video_pb2_grpc.VideoStub) -> None:
    answer = ImageStub(channel).GenerateImage(image_pb2.GenerateImageRequest(prompt="x"))
    job = answer.images[0].url.split("/i/")[1].split("/")[0]

    with pytest.raises(grpc.RpcError) as caught:
        poll(video, job)
    assert code_of(caught)[0] is grpc.StatusCode.NOT_FOUND


def test_an_upload_begins_with_its_name(channel: grpc.Channel) -> None:
    stub = files_pb2_grpc.FilesStub(channel)
    init = files_pb2.UploadFileChunk(init=files_pb2.UploadFileInit(name="a"))
    data = files_pb2.UploadFileChunk(data=b"x")

    for chunks, want_field in (([], "init"), ([data], "init"), ([init, init], "data"), ([init], "data")):
        with pytest.raises(grpc.RpcError) as caught:
            stub.UploadFile(iter(chunks))
        assert code_of(caught)[0] is grpc.StatusCode.INVALID_ARGUMENT
        assert code_of(caught)[1].startswith(f"{want_field}: ")


def test_text_of_files_is_not_extracted(channel: grpc.Channel) -> None:
    stub = files_pb2_grpc.FilesStub(channel)
    request = files_pb2.RetrieveFileContentRequest(file_id="file_x", format=files_pb2.DOWNLOAD_FORMAT_TEXT)

    with pytest.raises(grpc.RpcError) as caught:
        list(stub.RetrieveFileContent(request))
    assert code_of(caught)[0] is grpc.StatusCode.INVALID_ARGUMENT
