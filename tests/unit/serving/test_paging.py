"""Opaque tokens: what comes back is what went out, and nothing else is taken."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.errors import InvalidArgument
from serving.paging import decode_token, encode_token, opaque, page_size, position_in, read_opaque


@given(st.text(st.characters(codec="ascii"), max_size=1000))
def test_a_token_comes_back_as_it_went_and_is_fit_for_urls(text: str) -> None:
    token = opaque(text)
    assert read_opaque(token) == text
    assert token.replace("-", "").replace("_", "").isalnum() or not token


def test_tokens_stay_as_earlier_versions_wrote_them() -> None:
    assert encode_token("98199999999999-vid_a", "videos") == "dmlkZW9zOjk4MTk5OTk5OTk5OTk5LXZpZF9h"
    assert opaque("2:7:16:denoising") == "Mjo3OjE2OmRlbm9pc2luZw"


@pytest.mark.parametrize("token", ["!", "a", "é", "w6k", encode_token("x", "files"), encode_token("../x", "videos")])
def test_what_is_no_token_of_this_list_is_refused_by_its_field(token: str) -> None:
    with pytest.raises(InvalidArgument, match="page_token"):
        decode_token(token, "videos")


@pytest.mark.parametrize("token", ["A" * 8193, encode_token("1" * 1025, "videos")])
def test_a_token_that_is_longer_than_any_of_ours_is_refused(token: str) -> None:
    assert decode_token(encode_token("1" * 1024, "videos"), "videos")
    with pytest.raises(InvalidArgument, match="page_token"):
        decode_token(token, "videos")


def test_a_page_has_twenty_items_unless_it_is_asked_for_others() -> None:
    assert [page_size(asked) for asked in (0, 7, 100, 1000)] == [20, 7, 100, 100]
    assert [page_size(asked, most=10, unset=30) for asked in (0, 7, 100)] == [30, 7, 10]
    with pytest.raises(InvalidArgument, match="page_size"):
        page_size(-1)


@pytest.mark.parametrize("position", ["-1", "1e9", "²", "0x1", "1" * 400, "x"])
def test_a_number_that_is_none_is_refused(position: str) -> None:
    assert position_in(encode_token("37", "lineage"), "lineage") == 37
    with pytest.raises(InvalidArgument, match="page_token"):
        position_in(opaque(f"lineage:{position}") if position.isascii() else position, "lineage")
