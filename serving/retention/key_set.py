"""Sets of keys that take eight bytes for each: a tenant may have millions. `mark.py` and `scrub.py` fill them."""

from __future__ import annotations

import hashlib
from array import array
from bisect import bisect_left
from collections.abc import Iterable

import numpy as np

ID_BYTES = 8


def id_of(key: str) -> bytes:
    """The same in every process. Should two keys agree in it, one is spared for the other's sake: garbage, no hole."""
    return hashlib.blake2b(key.encode(), digest_size=ID_BYTES).digest()


class KeySet:
    """A set of keys, by their ids. First it is filled, then it is asked: the first question after an `add` sorts it."""

    def __init__(self) -> None:
        self._sorted: array[int] = array("Q")
        self._added = bytearray()

    def add(self, added: Iterable[str]) -> None:
        """Put keys in."""
        self.add_ids(b"".join(map(id_of, added)))

    def add_ids(self, ids: bytes) -> None:
        """Put keys in by their ids, one behind the other."""
        self._added += ids
        if len(self._added) > len(self._sorted) * ID_BYTES + 2**20:  # parents are named again by every child
            self._sort()

    def __contains__(self, key: object) -> bool:
        if self._added:
            self._sort()
        (wanted,) = array("Q", id_of(str(key)))
        at = bisect_left(self._sorted, wanted)
        return at < len(self._sorted) and self._sorted[at] == wanted

    def _sort(self) -> None:
        found = np.concatenate([np.frombuffer(self._sorted, np.uint64), np.frombuffer(self._added, np.uint64)])
        self._sorted = array("Q", np.unique(found).tobytes())
        self._added = bytearray()
