"""Memory that encoders have freed goes back to the system.

A video encoder allocates some hundred megabytes in threads of its own and frees all of it at the end of a segment. The
C library keeps what was freed, for every thread apart, and the next segment's threads hardly find it again: a Renderer
grew by about 50 MB with each segment, to a gigabyte. `stages/render.py` and `stages/ingest.py` call this when a segment
is encoded.
"""

from __future__ import annotations

import ctypes


def give_back() -> None:
    """Hand freed memory back; some milliseconds. Does nothing where the C library has no such call (not glibc)."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
