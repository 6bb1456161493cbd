"""Memory that encoders have freed goes back to the system.

A video encoder allocates some hundred megabytes in threads of its own and frees all of it at the end of a segment. The
C library keeps what was freed, in an arena for every few threads, and the next segment's threads hardly find it again:
a Renderer grew by about 50 MB with each segment, to a gigabyte. `stages/render.py` and `stages/ingest.py` ask for few
arenas when they are made, and give back when a segment is encoded.
"""

from __future__ import annotations

import ctypes

_M_ARENA_MAX = -8
"""`mallopt`'s name for it (malloc.h)."""
_ARENAS = 2


def few_arenas() -> None:
    """Let new threads of this process share arenas. Does nothing where the C library has no such call (not glibc)."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, _ARENAS)


def give_back() -> None:
    """Hand freed memory back; takes some milliseconds. Does nothing where the C library has no such call."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
