"""Tokens of file lists: what comes back is what went out, and all else is refused by the field's name."""

from __future__ import annotations

import json

import pytest

from serving.errors import InvalidArgument
from serving.files.record import FileRecord
from serving.frontdoor.surfaces.xai.files import _Listing
from serving.gen.xai.api.v1 import files_pb2 as pb
from serving.paging import opaque

ORDERS = (pb.FILES_SORT_BY_CREATED_AT, pb.FILES_SORT_BY_SIZE, pb.FILES_SORT_BY_FILENAME)
LONG_NAMED = FileRecord(
    id="file_" + "a" * 26,
    tenant="a",
    filename="\U0001f600" * 255,
    size=10**12,
    content_type="image/png",
    sha256=None,
    created_ms=1,
    nonce="n",
)


def listing(order: pb.FilesSortBy.ValueType) -> _Listing:
    return _Listing.of(pb.ListFilesRequest(sort_by=order))


@pytest.mark.parametrize("order", ORDERS)
def test_a_token_says_where_its_file_stands(order: pb.FilesSortBy.ValueType) -> None:
    of = listing(order)
    assert of.read_token(of.token(LONG_NAMED)) == of.position(LONG_NAMED)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("last", ["Infinity", "NaN", "1e999", "1.5", "null", "[1]", "{}", '"12", 12'])
def test_a_token_with_another_value_than_ours_is_refused(order: pb.FilesSortBy.ValueType, last: str) -> None:
    of = listing(order)
    head = json.dumps([of.sort_by, of.descending, of.filter_digest])[:-1]
    with pytest.raises(InvalidArgument, match="pagination_token"):
        of.read_token(opaque(f'{head}, {last}, "file_x"]'))


@pytest.mark.parametrize(
    "text",
    ["[" * 5000, '{"a":' * 1200, "9" * 5000, " " * 10**6 + "7", "[]", "7", "null"],
    ids=["deep", "deep in objects", "a long number", "a long text", "an empty list", "a number", "null"],
)
def test_what_is_no_token_of_files_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument, match="pagination_token"):
        listing(pb.FILES_SORT_BY_CREATED_AT).read_token(opaque(text))
