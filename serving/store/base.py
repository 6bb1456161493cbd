"""The store's interface: the only state that Longtake has lives behind it.

Directory (`directory.py`) and S3 (`s3.py`) implement it; `open.py` chooses by URL. Jobs, segments, blobs and files use
it through their own repositories. All methods are coroutines; slow work runs off the event loop.

Rules (they hold for every implementation):

* A key is made by the server, never by a user: ``/``-separated parts of ``[A-Za-z0-9._-]``.
* There is no conditional delete. A mutable key is deleted by swapping in a tombstone; what `delete` removes is
  immutable, a tombstone, or an index entry that may be lost.
* After a timeout or an unclear answer the implementation reads back and compares, for the write may have succeeded.
  Where that does not settle it, a write raises `Unavailable`: it was done or not, read again.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True)
class Versioned:
    """An object's bytes, and the version (opaque; an ETag on S3) that a swap must name."""

    data: bytes
    version: str


@dataclass(frozen=True)
class Listed:
    """One key of a listing, without its bytes."""

    key: str
    size: int
    modified_ms: int | None = None
    """When its bytes were last written or touched, by the store's own clock; None where a store does not tell (then
    nothing of it is ever collected)."""


class Store(Protocol):
    """What Longtake asks of a store."""

    url: str
    """Where it is, for messages; no secrets in it."""

    async def get(self, key: str) -> Versioned:
        """The object's bytes and version. Raises `NotFound`."""

    async def get_range(self, key: str, start: int, length: int) -> bytes:
        """`length` bytes from `start` (fewer at the end of the object). Raises `NotFound`."""

    async def put_if_absent(self, key: str, data: bytes | Path) -> bool:
        """Create the object; False when it is there already (its bytes are left alone). A Path is streamed."""

    async def swap(self, key: str, data: bytes, expected: str) -> str:
        """Replace the object if its version is `expected`; the new version. Raises `Conflict`, `NotFound`.

        Contents must differ between writers (records carry a nonce), for equal bytes give equal versions on S3.
        """

    def list(self, prefix: str, *, after: str = "", limit: int | None = None) -> AsyncIterator[Listed]:
        """Keys that start with `prefix`, in byte order, those after the key `after` only, at most `limit`.

        The order holds within a folder. Some servers (SeaweedFS) walk folder by folder, so that `a/b` comes before
        `a.b`: do not give a folder a name that begins a sibling's.
        """

    async def stat(self, key: str) -> Listed | None:
        """What a listing would tell of this one key, at the cost of one look; None if it is absent.

        Some servers tell its age in whole seconds here.
        """

    async def touch(self, key: str) -> None:
        """Make an immutable object young again: `modified_ms` becomes now, the bytes stay. Raises `NotFound`."""

    async def delete(self, key: str, *, by_ms: int | None = None) -> None:
        """Remove the object; nothing happens if it is absent. See the rule above.

        With `by_ms`, milliseconds of the clock that `modified_ms` is told by, the store itself refuses to do it later:
        whoever held the call up, be it a stopped process or a proxy. Raises `Unavailable`: it was done or not, and
        from `by_ms` on it will not be.
        """

    async def close(self) -> None:
        """Let go of connections and threads. Nothing may be asked of the store afterwards."""
