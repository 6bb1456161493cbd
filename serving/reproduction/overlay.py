"""A store in memory over another one: what is written stays here, what is hidden is not there. Nothing below changes.

`reproduce.py` runs a Director on it.
"""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from serving.clock import now_ms
from serving.errors import Conflict, NotFound
from serving.store.base import Listed, Store, Versioned


class Overlay:
    """Implements `serving.store.base.Store`."""

    def __init__(self, below: Store, hidden: Callable[[str], bool]) -> None:
        """`hidden`: keys of the store below that are not to be seen."""
        self.url = f"{below.url} (in memory)"
        self._below = below
        self._hidden = hidden
        self._own: dict[str, Versioned] = {}
        self._versions = itertools.count(1)

    async def get(self, key: str) -> Versioned:
        """The own object, else the one below. Raises `NotFound`."""
        if key in self._own:
            return self._own[key]
        if self._hidden(key):
            raise NotFound(f"no object {key}")
        return await self._below.get(key)

    async def get_range(self, key: str, start: int, length: int) -> bytes:
        """See `get`."""
        return (await self.get(key)).data[start : start + length]

    async def put_if_absent(self, key: str, data: bytes | Path) -> bool:
        """Keep it here, also where the store below has it."""
        if key in self._own:
            return False
        self._own[key] = self._versioned(data if isinstance(data, bytes) else data.read_bytes())
        return True

    async def swap(self, key: str, data: bytes, expected: str) -> str:
        """Replace an own object. Raises `Conflict`, `NotFound`."""
        if key not in self._own:
            raise NotFound(f"no object {key}")
        if self._own[key].version != expected:
            raise Conflict(f"{key} was changed by another writer")
        self._own[key] = self._versioned(data)
        return self._own[key].version

    async def list(self, prefix: str, *, after: str = "", limit: int | None = None) -> AsyncIterator[Listed]:
        """Own objects alone: nothing that a Director or a stage lists is below."""
        keys = sorted(key for key in self._own if key.startswith(prefix) and key > after)
        now = now_ms()
        for key in keys[:limit]:
            yield Listed(key, len(self._own[key].data), now)

    async def stat(self, key: str) -> Listed | None:
        """See `list`."""
        if key not in self._own:
            return None
        return Listed(key, len(self._own[key].data), now_ms())

    async def touch(self, key: str) -> None:
        """Everything here is young."""

    async def delete(self, key: str, *, by_ms: int | None = None) -> None:  # noqa: ARG002  (nothing here is collected)
        """Remove an own object."""
        self._own.pop(key, None)

    async def close(self) -> None:
        """The store below belongs to the caller."""

    def _versioned(self, data: bytes) -> Versioned:
        return Versioned(data, f"own-{next(self._versions)}")
