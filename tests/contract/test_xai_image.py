"""Images by the public client, made while the call waits."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.contract.xai_house import House, open_house
from tests.contract.xai_studio import MODEL

ASYNC = pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
PNG = "89504e470d0a1a0a"


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with open_house(tmp_path_factory.mktemp("house")) as opened:
        yield opened


@ASYNC
def test_images_come_by_url_and_inline(house: House, asynchronous: bool) -> None:
    seen = house.client("images.py", "samples", asynchronous=asynchronous)

    assert (seen["model"], seen["respect_moderation"], seen["cost"]) == (MODEL.model, True, 0)
    assert seen["fetched"] == [200, "image/png", PNG]
    assert seen["sdk_fetched"] == PNG
    assert seen["inline"] == ["data:image/png;base64,", PNG]
    assert seen["several"] == 3


@ASYNC
def test_images_are_kept_as_files(house: House, asynchronous: bool) -> None:
    seen = house.client("images.py", "kept", asynchronous=asynchronous)

    assert seen == {"names": ["circle.png", "circle-2.png"], "content": PNG, "public": "image/png"}


@ASYNC
def test_input_pictures_are_references(house: House, asynchronous: bool) -> None:
    assert house.client("images.py", "references", asynchronous=asynchronous) == {"urls": [True, True]}


@ASYNC
def test_what_cannot_be_met_is_refused_by_name(house: House, asynchronous: bool) -> None:
    seen = house.client("images.py", "refusals", asynchronous=asynchronous)

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
    assert "studio_fire" in seen["failed"]["message"]
