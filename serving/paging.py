"""Opaque tokens: where a list or a stream goes on. Clients hand them back and never read them.

Lists of `longtake.v1` page by `encode_token` and `decode_token` (`frontdoor/videos.py`, `files/repository.py`). What
holds more than a position (a watch's cursor, a page of a sorted list) is made opaque here, and read where it was made.
"""

from __future__ import annotations

import base64

from serving.errors import InvalidArgument

MAX_PAGE, DEFAULT_PAGE = 100, 20


def opaque(text: str) -> str:
    """ASCII text as a token that is fit for URLs."""
    return base64.urlsafe_b64encode(text.encode("ascii")).decode().rstrip("=")


def read_opaque(token: str) -> str:
    """The text in a token. Raises `ValueError` for what is no token."""
    return base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True).decode("ascii")


def encode_token(position: str, listing: str) -> str:
    """A token that says where `listing` goes on."""
    return opaque(f"{listing}:{position}")


def decode_token(token: str, listing: str) -> str:
    """The position in a token. Raises `InvalidArgument` for a token of another listing, or none at all."""
    try:
        text = read_opaque(token)
    except ValueError as error:
        raise InvalidArgument("page_token", "it is not a token of this list") from error
    name, _, position = text.partition(":")
    if name != listing or not position or "/" in position:
        raise InvalidArgument("page_token", "it is not a token of this list")
    return position


def page_size(asked: int) -> int:
    """How many items a page has: 20 when unset, 100 at most (AIP-158). Raises `InvalidArgument` below 0."""
    if asked < 0:
        raise InvalidArgument("page_size", "it cannot be negative: leave it unset for 20, at most 100 are returned")
    return min(asked, MAX_PAGE) or DEFAULT_PAGE
