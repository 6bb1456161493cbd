"""`longtake.v1` as a client sees it: what is refused, with which status, naming which field."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import Descriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from serving.gen.longtake.v1 import files_pb2, jobs_pb2, models_pb2, videos_pb2
from serving.gen.xai.api.v1 import files_pb2 as xai_files_pb2
from serving.gen.xai.api.v1 import image_pb2, video_pb2
from serving.paging import encode_token
from serving.settings import Admission
from tests.contract.longtake_door import CAT_URL, Client, Video, opened, refused, settings_for
from tests.contract.sample_media import FILM

pytestmark = pytest.mark.anyio


# ── what is refused ─────────────────────────────────────────────────────────────────────────────────────────────────

WRONG = [
    ({"seconds": 99}, "seconds"),
    ({"aspect_ratio": "4:3"}, "aspect_ratio"),
    ({"resolution": "8k"}, "resolution"),
    ({"codec": "vp9"}, "codec"),
    ({"steps": 99}, "steps"),
    ({"seed": -1}, "seed"),
    ({"images": 2}, "images"),
    ({"kind": 7}, "kind"),
    ({"prompt": "x" * 2001}, "prompt"),
    ({"first_frame": videos_pb2.Media()}, "first_frame"),
    ({"first_frame": videos_pb2.Media(url="ftp://example.com/cat.png")}, "first_frame"),
    ({"first_frame": videos_pb2.Media(url="data:image/png;base64,AAAA")}, "first_frame"),
    ({"first_frame": videos_pb2.Media(url="http://127.0.0.1:1/cat.png")}, "first_frame"),
    ({"references": [videos_pb2.Media(url=CAT_URL), videos_pb2.Media(url=CAT_URL[:-200])]}, "references[1]"),
    ({"extends": videos_pb2.Extension()}, "extends"),
    ({"deadline": Timestamp(seconds=1 << 62)}, "deadline"),
    ({"deadline": Timestamp(seconds=4_000_000_000, nanos=-1)}, "deadline"),
    ({"deadline": Timestamp(seconds=200_000_000_000)}, "deadline"),
    ({"ttl": Duration(seconds=1 << 62)}, "ttl"),
    ({"ttl": Duration(seconds=3600, nanos=-1)}, "ttl"),
    ({"ttl": Duration(seconds=300_000_000_000)}, "ttl"),
    ({"extends": videos_pb2.Extension(media=videos_pb2.Media(url=CAT_URL))}, "extends.media"),
]


@pytest.mark.parametrize(("fields", "field"), WRONG, ids=lambda value: value if isinstance(value, str) else "")
async def test_a_wrong_field_is_named(client: Client, fields: dict[str, Any], field: str) -> None:
    async with refused(grpc.StatusCode.INVALID_ARGUMENT, field, field):
        await client.create(**{"prompt": "x", **fields})


async def test_a_server_without_room_for_a_video_says_what_its_operator_can_do(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = await client.upload(FILM, "film.mp4")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    for media in (videos_pb2.Media(file_id=file.id), videos_pb2.Media(url="data:video/mp4;base64,AAAA")):
        async with refused(grpc.StatusCode.UNAVAILABLE, "cannot keep the video in"):
            await client.create(extends=videos_pb2.Extension(media=media))
    async with refused(grpc.StatusCode.UNAVAILABLE, "sets TMPDIR to where there is more"):
        await client.upload(FILM, "film.mp4")


def _times(message: Descriptor, seen: tuple[str, ...] = ()) -> set[str]:
    """The fields of a message, and of those in it, that are Timestamps or Durations."""
    found: set[str] = set()
    for field in message.fields:
        kind = field.message_type
        if kind is not None and kind.full_name in ("google.protobuf.Timestamp", "google.protobuf.Duration"):
            found.add(field.full_name)
        elif kind is not None and kind.full_name not in seen:
            found |= _times(kind, (*seen, kind.full_name))
    return found


def test_every_time_that_a_client_can_send_is_among_the_wrong_fields() -> None:
    files = (files_pb2, jobs_pb2, models_pb2, videos_pb2, xai_files_pb2, image_pb2, video_pb2)
    services = [service for file in files for service in file.DESCRIPTOR.services_by_name.values()]
    sent = {name for service in services for method in service.methods for name in _times(method.input_type)}

    of_create = {"longtake.v1.CreateVideoRequest.deadline", "longtake.v1.CreateVideoRequest.ttl"}
    assert {name.rpartition(".")[2] for name in of_create} <= {field for _, field in WRONG}
    assert sent == of_create | {"longtake.v1.RequeueJobsRequest.since"}  # this one: test_jobs_api.py


async def test_unknown_things_are_not_found(client: Client) -> None:
    nothing = "vid_" + "a" * 26
    async with refused(grpc.StatusCode.NOT_FOUND, nothing):
        await client.get(nothing)
    async with refused(grpc.StatusCode.NOT_FOUND, "../../etc"):
        await client.get("../../etc")
    async with refused(grpc.StatusCode.NOT_FOUND, "studio-1"):
        await client.create(model="gpt-5")
    async with refused(grpc.StatusCode.NOT_FOUND, "first_frame"):
        await client.create(first_frame=videos_pb2.Media(file_id="file_" + "a" * 26))
    async with refused(grpc.StatusCode.NOT_FOUND, nothing):
        await client.extend(nothing)
    async with refused(grpc.StatusCode.NOT_FOUND, nothing):
        await client.events(nothing)


async def test_an_extension_waits_for_its_video(client: Client) -> None:
    hanging = await client.create("hang")
    await client.until(hanging.id, Video.RUNNING)
    async with refused(grpc.StatusCode.FAILED_PRECONDITION, "wait until it has succeeded"):
        await client.extend(hanging.id)

    failed = await client.made("fail")
    assert (failed.state, failed.error.code) == (Video.FAILED, "worker_fire")
    async with refused(grpc.StatusCode.FAILED_PRECONDITION, "make it again"):
        await client.extend(failed.id)


async def test_an_extension_names_a_segment_of_its_video(client: Client) -> None:
    root = await client.made()
    stranger = await client.made("another")
    async with refused(grpc.StatusCode.INVALID_ARGUMENT, "GetLineage", "extends.segment"):
        await client.create(extends=videos_pb2.Extension(video_id=root.id, segment=stranger.segments[0]))
    for nothing in ("f" * 64, "../x", root.segments[0].upper()):
        async with refused(grpc.StatusCode.INVALID_ARGUMENT, "GetLineage", "extends.segment"):
            await client.create(extends=videos_pb2.Extension(video_id=root.id, segment=nothing))


async def test_a_page_of_a_lineage_is_asked_for_by_that_lineage_alone(client: Client) -> None:
    video, other = await client.made(seconds=2), await client.made(seconds=2)
    first = await client.videos.GetLineage(videos_pb2.GetLineageRequest(id=video.id, page_size=1))
    with_size = videos_pb2.GetLineageRequest(id=video.id, page_size=-1)
    async with refused(grpc.StatusCode.INVALID_ARGUMENT, "page_size"):
        await client.videos.GetLineage(with_size)
    for token in (first.next_page_token, "x", encode_token("-1", f"lineage of {other.id}")):
        async with refused(grpc.StatusCode.INVALID_ARGUMENT, "page_token"):
            await client.videos.GetLineage(videos_pb2.GetLineageRequest(id=other.id, page_token=token))


async def test_a_resent_create_with_a_request_id_is_the_same_video(client: Client) -> None:
    first = await client.create(request_id="order-66", seed=5)
    again = await client.create(request_id="order-66", seed=5)

    assert again.id == first.id
    async with refused(grpc.StatusCode.ALREADY_EXISTS, "seed"):
        await client.create(request_id="order-66", seed=6)


async def test_equal_creates_without_a_mark_are_two_videos_and_with_one_the_same(client: Client) -> None:
    request = videos_pb2.CreateVideoRequest(prompt="twins", seconds=1)
    first = await client.videos.CreateVideo(request)
    second = await client.videos.CreateVideo(request)
    resent = await client.videos.CreateVideo(request, metadata=(("x-stainless-retry-count", "1"),))

    assert first.id != second.id
    assert resent.id == second.id


async def test_a_full_queue_and_a_draining_server_say_when_to_come_back(tmp_path: Path) -> None:
    async with opened(settings_for(tmp_path, admission=Admission(max_active_jobs=2))) as client:
        client.director.open = False
        for _ in range(2):
            await client.create()
        async with refused(grpc.StatusCode.RESOURCE_EXHAUSTED, "max_active_jobs"):
            await client.create()
        stopping = asyncio.create_task(client.door.stop(grace_s=2))
        await asyncio.sleep(0)
        async with refused(grpc.StatusCode.UNAVAILABLE, "shutting down"):
            await client.create()
        await stopping
