"""Files by the public client: all of `client.files`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.contract.sample_media import CAT
from tests.contract.xai_door import XaiDoor

ASYNC = pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])


@ASYNC
def test_a_file_lives_from_upload_to_delete(tmp_path: Path, asynchronous: bool) -> None:
    with XaiDoor(tmp_path) as door:
        seen = door.client("files.py", "life", asynchronous=asynchronous)

    assert seen["sizes"] == [7 * 1024 * 1024, len(CAT), 10]
    assert seen["names"] == ["big.bin", "cat.png", "page.pdf"]
    assert seen["got_same"]
    assert seen["back"]
    assert abs(seen["expires_in"] - 3600) <= 1  # both ends are whole seconds
    assert seen["kept"]
    assert seen["deleted"] == [True, True]
    for name in ("gone", "gone_twice", "unknown"):
        assert seen[name]["code"] == "NOT_FOUND", seen[name]
    for name, want_field in (("empty", "data"), ("bad_name", "name"), ("bad_expiry", "expires_after")):
        assert seen[name]["code"] == "INVALID_ARGUMENT", seen[name]
        assert seen[name]["message"].startswith(f"{want_field}: ")


@ASYNC
def test_lists_are_ordered_paged_and_filtered(tmp_path: Path, asynchronous: bool) -> None:
    with XaiDoor(tmp_path) as door:
        seen = door.client("files.py", "lists", asynchronous=asynchronous)

    assert seen["default"] == ["b.txt", "c.txt", "a.txt"]
    assert seen["newest"] == ["a.txt", "c.txt", "b.txt"]
    assert seen["by_name"] == ["a.txt", "b.txt", "c.txt"]
    assert seen["by_size"] == ["b.txt", "a.txt", "c.txt"]
    assert seen["paged"] == ["c.txt", "b.txt", "a.txt"]
    assert seen["filtered"] == ["a.txt"]
    assert seen["none_public"] == []
    for name, want_field in (
        ("wrong_filter", "filter"),
        ("wrong_token", "pagination_token"),
        ("other_order", "pagination_token"),
        ("negative", "limit"),
    ):
        assert seen[name]["code"] == "INVALID_ARGUMENT", (name, seen[name])
        assert seen[name]["message"].startswith(f"{want_field}: ")


@ASYNC
def test_a_public_url_works_until_it_is_revoked(tmp_path: Path, asynchronous: bool) -> None:
    with XaiDoor(tmp_path) as door:
        seen = door.client("files.py", "public", asynchronous=asynchronous)

    assert seen["same"]
    assert seen["unending"]
    assert seen["fetched"] == [200, "image/png", True]
    assert seen["nosniff"] == "nosniff"
    assert seen["listed"] == ["my cat.png"]
    assert seen["revoked"] == [True, True]
    assert seen["gone"] == 404
    assert seen["twice"] is False
    assert seen["another"]
    assert seen["prolonged"][0]
    assert abs(seen["prolonged"][1] - 3600) <= 2
    assert seen["after_delete"] == 404
    assert seen["not_publishable"]["code"] == "FAILED_PRECONDITION"
