"""Base64 as people send it."""

from __future__ import annotations

import base64
import urllib.parse
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.errors import InvalidArgument
from serving.media.data_url import bytes_of

BYTES = bytes(range(256)) + b"\xfb\xff\xfe?"  # with both digits that the alphabets differ in, and padded
PLAIN = base64.b64encode(BYTES).decode()
WAYS = {
    "plain": "image/png;base64," + PLAIN,
    "in lines": "image/png;base64,\n" + base64.encodebytes(BYTES).decode(),
    "in lines of DOS": "image/png;base64," + base64.encodebytes(BYTES).decode().replace("\n", "\r\n"),
    "unpadded": "image/png;base64," + PLAIN.rstrip("="),
    "URL-safe": "image/png;base64," + base64.urlsafe_b64encode(BYTES).decode(),
    "quoted": "image/png;base64," + urllib.parse.quote(PLAIN, safe=""),
    "blanks": "image/png; base64 , " + PLAIN[:7] + " \t" + PLAIN[7:],
    "upper case": "image/png;BASE64," + PLAIN,
    "no type": ";base64," + PLAIN,
    "a parameter": "image/png;name=a.png;base64," + PLAIN,
}


@pytest.mark.parametrize("way", WAYS)
def test_the_same_bytes_are_read_however_they_are_written(way: str) -> None:
    assert bytes_of("data:" + WAYS[way], "f", len(BYTES)) == BYTES


@pytest.mark.parametrize(
    "body", ["***", "A", "AAAAA", "AA=A", "AAA==", "A===", "=", "AAAA====", "é", "AA%zz", "\ud800"]
)
def test_what_is_no_base64_is_damaged(body: str) -> None:
    with pytest.raises(InvalidArgument, match=r"^f: the data URL's base64 is damaged"):
        bytes_of("data:image/png;base64," + body, "f", 10)


@pytest.mark.parametrize("url", ["data:image/png,abc", "data:", "data:image/png;base64", "data:image/png;base64x,AAAA"])
def test_a_data_url_that_is_no_base64_is_told_how_it_must_be(url: str) -> None:
    with pytest.raises(InvalidArgument, match="must be base64"):
        bytes_of(url, "f", 10)


def test_the_bound_is_of_the_bytes_and_not_of_their_writing() -> None:
    bytes_of("data:;base64," + urllib.parse.quote("/" * 400, safe=""), "f", 300)
    with pytest.raises(InvalidArgument, match="larger than 299 bytes"):
        bytes_of("data:;base64," + "/" * 400, "f", 299)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.text(max_size=40))
def test_any_text_is_bytes_or_a_refusal(body: str) -> None:
    with suppress(InvalidArgument):
        assert len(bytes_of("data:;base64," + body, "f", 100)) <= 30
