"""Ids of videos and files: a prefix and 26 lowercase base32 characters; never reused, never parsed."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from secrets import token_bytes

JobKey = tuple[str, str]
"""Tenant and job: no two jobs share both."""

_BYTES = 17
_LENGTH = 26


def new_id(prefix: str, random: Callable[[int], bytes] = token_bytes) -> str:
    """A fresh id: `vid_` and 130 random bits."""
    return prefix + _text(random(_BYTES))


def derived_id(prefix: str, tenant: str, key: str) -> str:
    """The id that belongs to a tenant's idempotency key: the same for every resent create."""
    return prefix + _text(hashlib.sha256(f"{tenant}\0{key}".encode()).digest())


def _text(raw: bytes) -> str:
    return base64.b32encode(raw).decode().lower()[:_LENGTH]
