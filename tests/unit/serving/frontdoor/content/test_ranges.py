"""Byte ranges as players ask for them."""

from __future__ import annotations

import pytest

from serving.frontdoor.content.ranges import ByteRange, Unsatisfiable, names_etag, wanted_range

ETAG = '"abc"'


def asked(header: str | None, *, size: int = 100, if_range: str | None = None) -> ByteRange | None:
    return wanted_range(size, range_header=header, if_range=if_range, etag=ETAG)


@pytest.mark.parametrize(
    ("header", "want"),
    [
        ("bytes=0-0", ByteRange(0, 1)),
        ("bytes=0-", ByteRange(0, 100)),
        ("bytes=10-19", ByteRange(10, 20)),
        ("Bytes=10-19 ", ByteRange(10, 20)),
        ("bytes=90-1000", ByteRange(90, 100)),
        ("bytes=99-", ByteRange(99, 100)),
        ("bytes=-1", ByteRange(99, 100)),
        ("bytes=-500", ByteRange(0, 100)),
    ],
)
def test_one_range_is_served(header: str, want: ByteRange) -> None:
    assert asked(header) == want


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "bytes=",
        "bytes=-",
        "bytes=5-2",
        "bytes=a-b",
        "bytes=0-1,5-6",
        "items=0-1",
        "bytes=" + "9" * 40,
    ],
)
def test_what_is_no_single_range_asks_for_the_whole_file(header: str | None) -> None:
    assert asked(header) is None


@pytest.mark.parametrize("header", ["bytes=100-", "bytes=100-200", "bytes=-0"])
def test_a_range_beyond_the_file_is_refused(header: str) -> None:
    with pytest.raises(Unsatisfiable):
        asked(header)


def test_a_range_of_another_state_of_the_file_asks_for_the_whole_file() -> None:
    assert asked("bytes=0-1", if_range=ETAG) == ByteRange(0, 2)
    assert asked("bytes=0-1", if_range='"old"') is None
    assert asked("bytes=0-1", if_range=f"W/{ETAG}") is None
    assert asked("bytes=0-1", if_range="Mon, 01 Jan 2026 00:00:00 GMT") is None


def test_a_known_state_is_recognised_among_several() -> None:
    assert names_etag('"x", W/"abc"', ETAG)
    assert names_etag("*", ETAG)
    assert not names_etag('"x"', ETAG)
    assert not names_etag(None, ETAG)
