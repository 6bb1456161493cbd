"""Videos by the public client, sync and async, against a real front door: polls, URLs, ranges, chains, refusals."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest

from serving.jobs.repository import Jobs
from tests.contract.fake_director import COLOURS, MODEL
from tests.contract.xai_door import XaiDoor

ASYNC = pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[XaiDoor]:
    with XaiDoor(tmp_path_factory.mktemp("door")) as opened:
        yield opened


def decode(path: str) -> tuple[list[int], list[np.ndarray]]:
    with av.open(path) as container:
        frames = list(container.decode(video=0))
        assert container.duration is not None
        stream = container.streams.video[0]
        assert stream.average_rate == 16
        return [round(f.time * 16) for f in frames], [f.to_ndarray(format="rgb24") for f in frames]


@ASYNC
def test_a_text_video_is_generated_and_read_by_ranges_without_credentials(door: XaiDoor, asynchronous: bool) -> None:
    seen = door.client("videos.py", "text", asynchronous=asynchronous)

    assert (seen["model"], seen["duration"], seen["respect_moderation"]) == (MODEL.model, 2, True)
    assert seen["cost"] == 0
    assert seen["url"].startswith(f"http://{door.http_address}/v/vid_")
    times, frames = decode(seen["path"])
    assert times == list(range(33))
    assert frames[0].shape == (64, 112, 3)
    assert np.abs(frames[0][40:].reshape(-1, 3).mean(0) - COLOURS[0]).max() < 12
    assert np.abs(frames[-1][40:].reshape(-1, 3).mean(0) - COLOURS[1]).max() < 12
    size = seen["size"]
    assert seen["headers"]["content-type"] == "video/mp4"
    assert seen["headers"]["accept-ranges"] == "bytes"
    assert seen["headers"]["x-content-type-options"] == "nosniff"
    assert "default-src 'none'" in seen["headers"]["content-security-policy"]
    assert seen["head"] == [200, size, 0]
    assert seen["joined_is_whole"]
    assert seen["part_statuses"] == [206]
    assert seen["first_content_range"] == f"bytes 0-{min(size, 10000) - 1}/{size}"
    assert seen["suffix_is_end"]
    assert seen["beyond"] == [416, f"bytes */{size}"]
    assert seen["stale"] == [200, size]
    assert seen["fresh"] == [206, 10]
    assert seen["known"] == 304
    assert seen["forged"][0] == 403
    assert "not made by this server" in seen["forged"][1]


@ASYNC
def test_polls_tell_of_waiting_failed_and_unknown_videos(door: XaiDoor, asynchronous: bool) -> None:
    seen = door.client("videos.py", "start_and_poll", asynchronous=asynchronous)

    assert seen["id"].startswith("vid_")
    assert seen["status"] == 3
    assert 0 <= seen["progress"] <= 99
    assert seen["failure"] == {"code": "internal_error", "message": "the worker burned down"}
    assert seen["unknown"]["code"] == seen["nonsense"]["code"] == "NOT_FOUND"


@ASYNC
def test_pictures_go_in_by_data_url_and_by_file(door: XaiDoor, asynchronous: bool) -> None:
    seen = door.client("videos.py", "pictures", asynchronous=asynchronous)

    records = [
        door.do(Jobs(door.store).get("default", video["url"].split("/v/")[1].split(".mp4")[0]))
        for video in seen["videos"]
    ]
    first_by_url, first_by_file, reference_by_url, reference_by_file = [record.request for record in records]
    assert first_by_url.first_frame == first_by_file.first_frame is not None
    assert reference_by_url.references == reference_by_file.references == (first_by_url.first_frame,)
    assert reference_by_url.first_frame is None
    assert first_by_url.references == ()


@ASYNC
def test_a_chain_of_extensions_keeps_its_input_bit_for_bit(door: XaiDoor, asynchronous: bool) -> None:
    seen = door.client("videos.py", "chain", asynchronous=asynchronous)

    assert seen["durations"] == [2, 2, 1, 1]
    assert seen["urls"] == 4
    assert seen["kept"] == {"filename": "second.mp4", "storage_error": None}
    assert seen["content_is_download"]
    assert seen["public_is_download"]
    assert seen["kept_expires"]
    media = [media_of(Path(path).read_bytes()) for path in seen["paths"]]
    for shorter, longer in itertools.pairwise(media):
        assert longer.startswith(shorter)
        assert len(longer) > len(shorter)
    times, frames = decode(seen["paths"][3])
    assert times == list(range(33 + 32 + 16 + 16))
    for second in range(6):
        ground = frames[1 + 16 * second + 8][40:].reshape(-1, 3).mean(0)
        assert np.abs(ground - COLOURS[second]).max() < 12, second


def media_of(data: bytes) -> bytes:
    """Everything from the first fragment on."""
    return data[data.index(b"moof") - 4 :]


@ASYNC
def test_a_video_from_elsewhere_is_taken_in_whole_or_refused(door: XaiDoor, asynchronous: bool) -> None:
    seen = door.client("videos.py", "foreign", asynchronous=asynchronous)

    for request_id in seen["ids"]:
        source = door.do(Jobs(door.store).get("default", request_id)).request.ingests
        assert source is not None
        assert (source.width, source.height, round(source.seconds)) == (320, 180, 3)
    for name in ("half", "picture"):
        assert seen[name]["code"] == "INVALID_ARGUMENT", seen[name]
        assert seen[name]["message"].startswith("video: ")


@ASYNC
def test_what_cannot_be_met_is_refused_by_name(door: XaiDoor, asynchronous: bool) -> None:
    seen = door.client("videos.py", "refusals", asynchronous=asynchronous)

    assert seen.pop("audio_false_is_fine")["code"] == "OK"
    not_found = {"model", "image_missing_file", "extend_missing_file"}
    for name, status in seen.items():
        want_code = "NOT_FOUND" if name in not_found else "INVALID_ARGUMENT"
        assert status["code"] == want_code, (name, status)
    for name, want_field in {
        "generate_audio": "generate_audio", "keyframes": "keyframes", "last_frame": "last_frame",
        "reference_audios": "reference_audios", "video": "video", "aspect_ratio": "aspect_ratio",
        "duration": "duration", "duration_zero": "duration", "prompt": "prompt", "image_not_one": "image",
        "image_loopback": "image", "references_too_many": "reference_images", "extend_duration": "duration",
        "extend_loopback": "video", "storage_name": "storage_options.filename",
        "storage_expiry": "storage_options.expires_after",
    }.items():  # fmt: skip
        assert seen[name]["message"].startswith(f"{want_field}: "), seen[name]
    assert "16:9, 1:1" in seen["aspect_ratio"]["message"]
    assert "1 to 15" in seen["duration"]["message"]
    assert "1 to 10" in seen["extend_duration"]["message"]
    assert MODEL.model in seen["model"]["message"]
