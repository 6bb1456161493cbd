"""Images by the public client, made while the call waits."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.contract.fake_director import MODEL
from tests.contract.xai_door import XaiDoor

ASYNC = pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
PNG = "89504e470d0a1a0a"


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[XaiDoor]:
    with XaiDoor(tmp_path_factory.mktemp("door")) as opened:
        yield opened


@ASYNC
def test_images_come_by_url_and_inline(door: XaiDoor, asynchronous: bool) -> None:
    seen = door.client("images.py", "samples", asynchronous=asynchronous)

    assert (seen["model"], seen["respect_moderation"], seen["cost"]) == (MODEL.model, True, 0)
    assert seen["fetched"] == [200, "image/png", PNG]
    assert seen["sdk_fetched"] == PNG
    assert seen["inline"] == ["data:image/png;base64,", PNG]
    assert seen["several"] == 3


@ASYNC
def test_images_are_kept_as_files(door: XaiDoor, asynchronous: bool) -> None:
    seen = door.client("images.py", "kept", asynchronous=asynchronous)

    assert seen == {"names": ["circle.png", "circle-2.png"], "content": PNG, "public": "image/png"}


@ASYNC
def test_input_pictures_are_references(door: XaiDoor, asynchronous: bool) -> None:
    assert door.client("images.py", "references", asynchronous=asynchronous) == {"urls": [True, True]}


@ASYNC
def test_what_cannot_be_met_is_refused_by_name(door: XaiDoor, asynchronous: bool) -> None:
    seen = door.client("images.py", "refusals", asynchronous=asynchronous)

    assert {name: status["code"] for name, status in seen.items()} == {
        "n_zero": "INVALID_ARGUMENT",
        "n_many": "INVALID_ARGUMENT",
        "aspect_ratio": "INVALID_ARGUMENT",
        "quality": "INVALID_ARGUMENT",
        "model": "NOT_FOUND",
        "failed": "FAILED_PRECONDITION",
    }
    assert seen["n_many"]["message"].startswith("n: ")
    assert "'9:19.5'" in seen["aspect_ratio"]["message"]
    assert "worker_fire" in seen["failed"]["message"]
