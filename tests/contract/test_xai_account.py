"""Models, keys and batches by the public client, and calls that carry no right key."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.certificates import self_signed
from tests.contract.fake_director import MODEL
from tests.contract.xai_door import XaiDoor

ASYNC = pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
KEY = "lt-0123456789abcdef0123456789abcdef"


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[XaiDoor]:
    folder: Path = tmp_path_factory.mktemp("door")
    with XaiDoor(folder, keys_file=write_keys(folder)) as opened:
        yield opened


def write_keys(folder: Path) -> Path:
    line = {
        "id": "key_1", "tenant": "atelier", "name": "Ada", "sha256": hashlib.sha256(KEY.encode()).hexdigest(),
        "created": "2026-11-01T00:00:00Z",
    }  # fmt: skip
    keys_file = folder / "keys.jsonl"
    keys_file.write_text(json.dumps(line) + "\n")
    return keys_file


@ASYNC
def test_models_are_listed_for_what_they_can_mean(door: XaiDoor, asynchronous: bool) -> None:
    seen = door.client("account.py", "models", asynchronous=asynchronous, key=KEY)

    assert (seen["language"], seen["embedding"], seen["images"]) == (0, 0, [MODEL.model])
    assert seen["same"]
    assert seen["prompt"] == MODEL.max_prompt_chars
    for name in ("no_language", "no_embedding", "no_image"):
        assert seen[name]["code"] == "NOT_FOUND"
        assert MODEL.model in seen[name]["message"]


@ASYNC
def test_a_key_is_described_without_being_shown(door: XaiDoor, asynchronous: bool) -> None:
    seen = door.client("account.py", "key", asynchronous=asynchronous, key=KEY)

    assert (seen["name"], seen["team"], seen["id"]) == ("Ada", "atelier", "key_1")
    assert KEY[10:-6] not in seen["redacted"]
    assert seen["redacted"].endswith(KEY[-4:])


@ASYNC
def test_batches_name_the_alternative(door: XaiDoor, asynchronous: bool) -> None:
    seen = door.client("account.py", "batches", asynchronous=asynchronous, key=KEY)

    for name, status in seen.items():
        assert status["code"] == "UNIMPLEMENTED", (name, status)
        assert "Video/GenerateVideo" in status["message"]


@ASYNC
def test_a_wrong_key_is_unauthenticated(door: XaiDoor, asynchronous: bool) -> None:
    seen = door.client("account.py", "upload", asynchronous=asynchronous, key="wrong")

    assert seen["upload"]["code"] == seen["list"]["code"] == "UNAUTHENTICATED"


@ASYNC
def test_an_upload_over_an_insecure_channel_is_told_of_tls(door: XaiDoor, asynchronous: bool) -> None:
    address = f"127.0.0.1:{door.grpc_port}"

    seen = door.client(
        "account.py",
        "upload",
        asynchronous=asynchronous,
        key=KEY,
        LONGTAKE_HOST=address,
        LONGTAKE_INSECURE="1",
    )

    assert seen["list"]["code"] == "OK"
    assert seen["upload"]["code"] == "UNAUTHENTICATED"
    assert "TLS" in seen["upload"]["message"]


def test_a_right_key_uploads_over_localhost(door: XaiDoor) -> None:
    seen = door.client("account.py", "upload", key=KEY)

    assert seen["upload"]["code"] == seen["list"]["code"] == "OK"


@ASYNC
def test_an_upload_over_tls_carries_its_key(tmp_path: Path, asynchronous: bool) -> None:
    certificate, key = self_signed(tmp_path)
    with XaiDoor(tmp_path, keys_file=write_keys(tmp_path), tls=(certificate, key)) as door:
        seen = door.client(
            "account.py", "upload", asynchronous=asynchronous, key=KEY,
            LONGTAKE_HOST=f"127.0.0.1:{door.grpc_port}", GRPC_DEFAULT_SSL_ROOTS_FILE_PATH=str(certificate),
        )  # fmt: skip

    assert seen["upload"]["code"] == seen["list"]["code"] == "OK"
