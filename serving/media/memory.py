"""Memory that was freed goes back to the system.

A video encoder allocates some hundred megabytes in threads of its own and frees all of it at the end of a segment. The
C library keeps what was freed, in an arena for every few threads, and the next segment's threads hardly find it again:
a Renderer grew by about 50 MB with each segment, to a gigabyte. `stages/render.py` and `stages/ingest.py` ask for few
arenas when they are made, and give back when a segment is encoded.

A front door's large messages are alike: each time one is freed the C library learns to keep such blocks, up to 32 MB,
and a hundred of them leave a gigabyte behind. `frontdoor/__main__.py` asks that it never learns.
"""

from __future__ import annotations

import ctypes

_M_ARENA_MAX = -8
"""`mallopt`'s name for it (malloc.h)."""
_M_MMAP_THRESHOLD = -3
_ARENAS = 2
_LARGE_BYTES = 1 << 20


def few_arenas() -> None:
    """Let new threads of this process share arenas. Does nothing where the C library has no such call (not glibc)."""
    _set(_M_ARENA_MAX, _ARENAS)


def large_blocks_apart() -> None:
    """Blocks of a megabyte or more are the system's again as soon as they are freed. Does nothing as above."""
    _set(_M_MMAP_THRESHOLD, _LARGE_BYTES)


def give_back() -> None:
    """Hand freed memory back; takes some milliseconds. Does nothing where the C library has no such call."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _set(option: int, value: int) -> None:
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(option, value)
