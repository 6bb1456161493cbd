"""The Files filter language, read as users write it."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from serving.errors import InvalidArgument
from serving.frontdoor.surfaces.xai.filter import Facts, parse_filter

CAT: Facts = {
    "file_id": "file_cat",
    "name": 'my "cat".png',
    "file_name": 'my "cat".png',
    "size_bytes": 2048,
    "content_type": "image/png",
    "created_at": datetime(2026, 3, 16, tzinfo=UTC),
    "expires_at": None,
    "upload_status": "completed",
    "user_defined_id": None,
    "public_url": None,
    "public_url_expires_at": None,
}


@pytest.mark.parametrize(
    "text",
    [
        'content_type = "image/png"',
        "content_type = 'image/png'",
        r'name = "my \"cat\".png"',
        "size_bytes > 2047 AND size_bytes >= 2048 AND size_bytes < 2049 AND size_bytes <= 2048",
        "size_bytes != 1",
        "public_url = null",
        "NOT public_url != null",
        'public_url != "https://x"',
        'created_at > "2026-03-15T00:00:00Z"',
        'created_at < "2026-03-16T03:00:00+02:00"',
        'created_at >= "2026-03-16"',
        'size_bytes = 1 OR content_type = "image/png" AND NOT (size_bytes = 3)',
        "not size_bytes = 3 and (size_bytes=2048)",
        '  upload_status="completed"  ',
    ],
)
def test_the_cat_is_found(text: str) -> None:
    assert parse_filter(text)(CAT)


@pytest.mark.parametrize(
    "text",
    [
        'content_type = "image/jpeg"',
        "expires_at != null",
        'expires_at > "2020-01-01T00:00:00Z"',
        'expires_at < "2090-01-01T00:00:00Z"',
        "size_bytes < 2048",
        'size_bytes = 2048 AND name = "dog"',
        "NOT (size_bytes = 2048 OR size_bytes = 1)",
        "size_bytes = -5",
    ],
)
def test_the_cat_is_left_out(text: str) -> None:
    assert not parse_filter(text)(CAT)


@pytest.mark.parametrize(
    ("text", "want_message"),
    [
        ("", "ends where a field"),
        ("colour = 1", "the fields are"),
        ("size_bytes", "an operator"),
        ("size_bytes =", "a value"),
        ("size_bytes ~ 3", "cannot read"),
        ("size_bytes = 3.5", "cannot read"),
        ('size_bytes = "3"', "whole number"),
        ("name = 3", "text"),
        ('created_at > "yesterday"', "no time"),
        ("created_at > 5", "time"),
        ("size_bytes > null", "= or !="),
        ("size_bytes = 1 size_bytes = 2", "expected AND, OR"),
        ("(size_bytes = 1", "not closed"),
        ("size_bytes = 1)", "expected AND, OR"),
        ("NOT " * 60 + "size_bytes = 1", "nested"),
        ("(" * 3000 + "size_bytes = 1", "nested"),
        ("x" * 5000, "at most"),
        ('name = "open', "cannot read"),
    ],
)
def test_a_wrong_filter_says_what_is_wrong(text: str, want_message: str) -> None:
    with pytest.raises(InvalidArgument, match=want_message) as caught:
        parse_filter(text)
    assert caught.value.field == "filter"
