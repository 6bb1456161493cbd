"""What can be asked for, and how a file is called on the server."""

from __future__ import annotations

import io
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.client import Unsendable, create_request
from serving.client.requests import UploadParts, taken_name
from serving.files.record import check_filename


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("seconds", 99_999_999_999),
        ("seed", 2**63),
        ("steps", -(2**31) - 1),
        ("images", 10**100),
        ("priority", 2**31),
        ("deadline_s", 1e300),
        ("deadline_s", float("inf")),
        ("ttl_s", float("nan")),
        ("prompt", "a \udcff"),
        ("model", "\ud800"),
    ],
)
def test_what_its_field_has_no_room_for_is_named(name: str, value: Any) -> None:
    with pytest.raises(Unsendable, match=f"^{name}: "):
        create_request(**{name: value})


def test_what_fits_is_asked_for_as_it_is() -> None:
    request = create_request("é", seconds=2**31 - 1, seed=-(2**63), ttl_s=0.5)
    assert (request.prompt, request.seconds, request.seed) == ("é", 2**31 - 1, -(2**63))
    assert request.ttl.ToMilliseconds() == 500
    assert not request.HasField("steps")


@pytest.mark.parametrize(
    ("name", "taken"),
    [
        ("Bob's logo.png", "Bob_s logo.png"),
        ('a";\\b.png', "a___b.png"),
        ("b\udcfcld.png", "b_ld.png"),
        ("a\nb.png", "a_b.png"),
        ("größe 🎬.png", "größe 🎬.png"),
        ("x" * 300 + ".png", "x" * 251 + ".png"),
    ],
)
def test_a_file_is_sent_under_a_name_that_the_server_takes(name: str, taken: str) -> None:
    assert taken_name(name) == taken
    first, *_ = UploadParts(name, io.BytesIO(b"x"), None)
    assert first.metadata.filename == taken


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.text(st.characters(exclude_categories=()), min_size=1, max_size=300))
def test_any_name_is_taken(name: str) -> None:
    check_filename(taken_name(name))
    taken_name(name).encode()
