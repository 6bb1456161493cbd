"""Reads `data:` URLs as browsers do: blanks, a missing padding, percent-encoding and both alphabets are all the same.

`fetch.py` calls it. Tools wrap base64 in lines, leave the `=` away or quote it for a query, and the bytes are plain
nevertheless.
"""

from __future__ import annotations

import binascii
import re
import urllib.parse

from serving.errors import InvalidArgument

_BASE64 = re.compile(r";\s*base64\s*\Z", re.IGNORECASE | re.ASCII)
_BLANKS = b" \t\n\f\r"
_ONE_ALPHABET = bytes.maketrans(b"-_", b"+/")


def is_data_url(url: str) -> bool:
    """Whether it holds its bytes itself."""
    return url[:5].lower() == "data:"


def bytes_of(url: str, field: str, max_bytes: int) -> bytes:
    """What a `data:` URL holds. Raises `InvalidArgument` naming `field`."""
    head, comma, body = url[5:].partition(",")
    if not comma or not _BASE64.search(head):
        raise InvalidArgument(field, "a data URL must be base64: data:image/png;base64,...")
    try:
        written = body.encode("ascii")
    except UnicodeEncodeError as error:
        raise _damaged(field) from error
    if b"%" in written:
        written = urllib.parse.unquote_to_bytes(written)
    digits = written.translate(_ONE_ALPHABET, _BLANKS)
    bare = digits[:-2] + digits[-2:].rstrip(b"=") if len(digits) % 4 == 0 else digits
    if len(bare) * 3 // 4 > max_bytes:
        raise InvalidArgument(field, f"it is larger than {max_bytes} bytes, the most that is taken")
    if b"=" in bare:
        raise _damaged(field)
    try:
        return binascii.a2b_base64(bare + b"=" * (-len(bare) % 4), strict_mode=True)
    except binascii.Error as error:
        raise _damaged(field) from error


def _damaged(field: str) -> InvalidArgument:
    return InvalidArgument(field, "the data URL's base64 is damaged")
