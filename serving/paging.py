"""Opaque tokens: where a list or a stream goes on. Clients hand them back and never read them.

Lists of `longtake.v1` page by `encode_token` and `decode_token` (`frontdoor/videos.py`, `files/repository.py`). What
holds more than a position (a watch's cursor, a page of a sorted list) is made opaque here, and read where it was made.
"""

from __future__ import annotations

import base64

from serving.errors import InvalidArgument

MAX_PAGE, DEFAULT_PAGE = 100, 20
_LONGEST_NUMBER = 9
_LONGEST_NAME = 1024
"""Of a position in a listing of the store: no key is longer."""
_LONGEST = 8192
"""Of a token: twice what the longest name of a file takes, every letter of it escaped."""


def opaque(text: str) -> str:
    """ASCII text as a token that is fit for URLs."""
    return base64.urlsafe_b64encode(text.encode("ascii")).decode().rstrip("=")


def read_opaque(token: str) -> str:
    """The text in a token. Raises `ValueError` for what is no token, or longer than any of ours."""
    if len(token) > _LONGEST:
        raise ValueError("it is longer than any token")
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
    if name != listing or not 0 < len(position) <= _LONGEST_NAME or "/" in position:
        raise InvalidArgument("page_token", "it is not a token of this list")
    return position


def position_in(token: str, listing: str) -> int:
    """How many items came before, of a list that is read by their number. Raises as `decode_token` does."""
    position = decode_token(token, listing)
    if not position.isascii() or not position.isdigit() or len(position) > _LONGEST_NUMBER:
        raise InvalidArgument("page_token", "it is not a token of this list")
    return int(position)


def page_size(asked: int, *, most: int = MAX_PAGE, unset: int = DEFAULT_PAGE) -> int:
    """How many items a page has: `unset` when unset, `most` at most (AIP-158). Raises `InvalidArgument` below 0."""
    if asked < 0:
        raise InvalidArgument(
            "page_size", f"it cannot be negative: leave it unset for {unset}, at most {most} are returned"
        )
    return min(asked, most) or unset
