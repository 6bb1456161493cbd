"""The public client, unchanged, against the whole of Longtake: the same scripts as the contract tests, real engines."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest

from serving.media.still import frames_of
from tests.contract.xai_door import run_client
from tests.integration.house import House, media_of

pytestmark = pytest.mark.ray
MODEL = "sprite-2"


def client(house: House, folder: Path, script: str, scenario: str, *, asynchronous: bool = False) -> dict[str, Any]:
    host = f"localhost:{house.address.rpartition(':')[2]}"
    return run_client(folder, script, scenario, asynchronous=asynchronous, LONGTAKE_HOST=host)


@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
def test_text_becomes_a_video_that_any_http_client_reads_by_ranges(
    house: House, tmp_path: Path, asynchronous: bool
) -> None:
    seen = client(house, tmp_path, "videos.py", "text", asynchronous=asynchronous)

    assert (seen["model"], seen["duration"], seen["cost"]) == (MODEL, 2, 0)
    assert frames_of(Path(seen["path"])).shape == (33, 480, 864, 3)
    assert seen["joined_is_whole"]
    assert seen["suffix_is_end"]
    assert seen["forged"][0] == 403


def test_pictures_become_first_frames_and_references(house: House, tmp_path: Path) -> None:
    seen = client(house, tmp_path, "videos.py", "pictures")

    assert [video["duration"] for video in seen["videos"]] == [1, 1, 1, 1]


def test_a_chain_of_extensions_is_one_growing_file(house: House, tmp_path: Path) -> None:
    seen = client(house, tmp_path, "videos.py", "chain", asynchronous=True)

    for shorter, longer in itertools.pairwise(media_of(Path(path).read_bytes()) for path in seen["paths"]):
        assert longer.startswith(shorter)
    assert len(frames_of(Path(seen["paths"][-1]))) == 33 + 32 + 16 + 16
    assert seen["content_is_download"]
    assert seen["public_is_download"]


def test_a_video_from_elsewhere_grows(house: House, tmp_path: Path) -> None:
    seen = client(house, tmp_path, "videos.py", "grown")

    frames = frames_of(Path(seen["path"]))
    # Three seconds come in as 4k+1 frames, one second is made.
    assert 45 + 16 <= len(frames) <= 49 + 16
    assert seen["duration"] == 1


def test_images_come_by_url_and_inline(house: House, tmp_path: Path) -> None:
    seen = client(house, tmp_path, "images.py", "samples")

    assert seen["model"] == MODEL
    assert seen["fetched"][:2] == [200, "image/png"]
    assert seen["several"] == 3
