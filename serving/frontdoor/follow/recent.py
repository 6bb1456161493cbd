"""Memory that is bounded in bytes: what was not used for longest goes first.

Job records (`records.py`) and films (`content/films.py`) differ in size by a hundred times, so none of them is counted
by number.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterator
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

ENTRY_BYTES = 512
"""What an entry costs beside its value: its key, its place, the objects around the bytes."""


class Recent(Generic[K, V]):
    """Values by key, of which the caller says how large they are."""

    def __init__(self, most_bytes: int) -> None:
        self._most = most_bytes
        self._values: OrderedDict[K, tuple[V, int]] = OrderedDict()
        self._bytes = 0

    @property
    def size(self) -> int:
        """Bytes, entries included."""
        return self._bytes

    def get(self, key: K) -> V | None:
        """The value, which is then the last used."""
        found = self._values.get(key)
        if found is None:
            return None
        self._values.move_to_end(key)
        return found[0]

    def peek(self, key: K) -> V | None:
        """The value; it is not used by that."""
        found = self._values.get(key)
        return None if found is None else found[0]

    def put(self, key: K, value: V, size: int) -> None:
        """Remember a value of `size` bytes in the place of the one before. One larger than all memory is not kept."""
        self.drop(key)
        size += ENTRY_BYTES
        self._values[key] = (value, size)
        self._bytes += size
        while self._bytes > self._most:
            _, (_, freed) = self._values.popitem(last=False)
            self._bytes -= freed

    def drop(self, key: K) -> None:
        """Forget a value, if it is there."""
        found = self._values.pop(key, None)
        if found is not None:
            self._bytes -= found[1]

    def items(self) -> Iterator[tuple[K, V]]:
        """All of it, as it stood when this was called."""
        return iter([(key, value) for key, (value, _) in self._values.items()])
