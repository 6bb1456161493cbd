"""Opaque tokens: what comes back is what went out, and nothing else is taken."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.errors import InvalidArgument
from serving.paging import decode_token, encode_token, opaque, page_size, read_opaque


@given(st.text(st.characters(codec="ascii")))
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


def test_a_page_has_twenty_items_unless_it_is_asked_for_others() -> None:
    assert [page_size(asked) for asked in (0, 7, 100, 1000)] == [20, 7, 100, 100]
    with pytest.raises(InvalidArgument, match="page_size"):
        page_size(-1)
