"""Memory that this process and a server on the same machine both have: tensors lie there instead of in messages.

`connection.py` lends one region to each call. A region's name in the system is gone as soon as the server has mapped
it, so nothing is left of it when both have let go, however they end. Only Linux has the folder that it is made in.
"""

from __future__ import annotations

import mmap
import os
import secrets
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from engines.errors import EngineAway

FOLDER: Final = Path("/dev/shm")  # noqa: S108  (what Linux calls shared memory; files there are this user's alone)
ALIGNED: Final = 64
"""Bytes: where tensors begin."""
ROUNDED: Final = 1 << 20
"""Bytes: sizes are multiples, so that a little more than last time needs no other region."""
Shape = tuple[int, ...]


class Unmapped(Exception):
    """The server does not have the memory: there is no room for it, or it is of a server that is no more."""


@dataclass(frozen=True, eq=False)
class Region:
    """One piece; one call has it at a time."""

    name: str
    """What the server calls it."""
    memory: mmap.mmap

    def put(self, at: int, value: NDArray[np.generic]) -> None:
        """Copy an array to this offset."""
        there: NDArray[Any] = np.frombuffer(self.memory, value.dtype, value.size, at).reshape(value.shape)
        there[...] = value

    def get(self, at: int, dtype: str, shape: Shape) -> NDArray[np.generic]:
        """A copy of what lies at this offset."""
        there: NDArray[Any] = np.frombuffer(self.memory, dtype, int(np.prod(shape)), at)
        return there.reshape(shape).copy()


class Regions:
    """All of one connection. Safe from several threads."""

    def __init__(self, register: Callable[[str, str, int], None], unregister: Callable[[str], None]) -> None:
        """`register` has the server map (name, key, bytes), and raises `ValueError` where it does not; `unregister` has
        it forget a name."""
        self._register = register
        self._unregister = unregister
        self._free: list[Region] = []
        self._lock = threading.Lock()
        self._closed = False

    @contextmanager
    def lent(self, size: int) -> Iterator[Region]:
        """A region of at least so many bytes, for one call. Raises `Unmapped`, and `EngineAway` without a server.

        After an error in the block it is not lent again: the server may be writing to it still.
        """
        region = self._taken(size) or self._made(size)
        try:
            yield region
        except BaseException:
            self._drop(region)
            raise
        with self._lock:
            if not self._closed:
                self._free.append(region)
                return
        self._drop(region)

    def close(self) -> None:
        """Let go of all; of one that is lent, when it comes back."""
        with self._lock:
            self._closed, free = True, self._free
            self._free = []
        for region in free:
            self._drop(region)

    def _taken(self, size: int) -> Region | None:
        """A free one that is large enough; the smaller ones that are free were outgrown."""
        with self._lock:
            large = next((region for region in self._free if len(region.memory) >= size), None)
            small = [] if large else self._free
            self._free = [region for region in self._free if large and region is not large]
        for region in small:
            self._drop(region)
        return large

    def _made(self, size: int) -> Region:
        size = -(-max(size, 1) // ROUNDED) * ROUNDED
        key = f"longtake-{secrets.token_hex(16)}"
        try:
            with _file(FOLDER / key, size) as opened:
                memory = mmap.mmap(opened, size)
                try:
                    self._register(key, f"/{key}", size)
                except BaseException:
                    memory.close()
                    raise
        except EngineAway:
            raise
        except (OSError, ValueError) as error:
            raise Unmapped from error
        return Region(key, memory)

    def _drop(self, region: Region) -> None:
        region.memory.close()
        self._unregister(region.name)


@contextmanager
def _file(path: Path, size: int) -> Iterator[int]:
    """A new file of so many bytes, which has no name any more after the block. Raises `OSError`."""
    opened = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        os.posix_fallocate(opened, 0, size)  # where there is no room, that is said here, and not by a signal
        yield opened
    finally:
        os.close(opened)
        path.unlink()


def laid_out(sizes: Mapping[str, int]) -> tuple[dict[str, int], int]:
    """Where each of so many bytes begins, and how many they are together."""
    places, end = {}, 0
    for name, size in sizes.items():
        places[name] = end
        end += -(-size // ALIGNED) * ALIGNED
    return places, end
