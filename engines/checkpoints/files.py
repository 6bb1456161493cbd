"""Where a checkpoint's files lie: a folder here, or whatever else can list names and read ranges of bytes.

`diffusers.py` reads through this alone, so that another place, an object store say, is these three methods.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Final, Protocol

from engines.errors import CheckpointUnfit

PIECE: Final = 8 * 1024 * 1024
"""Bytes read at once where a whole file goes by."""

MAX_SMALL: Final = 64 * 1024 * 1024
"""Bytes of a file that is read at once. The largest in use is a tokenizer of 17 MB."""


class Files(Protocol):
    """The files beneath one root, by their names relative to it, with slashes."""

    def names(self) -> frozenset[str]:
        """All of them."""

    def size(self, name: str) -> int:
        """Bytes of one. Raises `CheckpointUnfit` for one that is not there."""

    def read(self, name: str, begin: int, end: int) -> bytes:
        """Bytes begin to end of one. Raises `CheckpointUnfit` where it has not so many."""


class Folder:
    """Implements `Files` on a directory. Links to files and to folders are followed: download caches are made of them.
    One to a folder that it lies in is left alone."""

    def __init__(self, root: Path) -> None:
        """Raises `CheckpointUnfit` for what is no directory."""
        if not root.is_dir():
            raise CheckpointUnfit(f"{root}: no such folder; a checkpoint is a folder with model_index.json in it")
        self._root = root

    def __str__(self) -> str:
        return str(self._root)

    def names(self) -> frozenset[str]:
        """See `Files`."""
        return frozenset(path.relative_to(self._root).as_posix() for path in _below(self._root, ()))

    def size(self, name: str) -> int:
        """See `Files`."""
        path = self._path(name)
        if not path.is_file():
            raise CheckpointUnfit(f"{name}: not there; copy the checkpoint again, whole")
        return path.stat().st_size

    def read(self, name: str, begin: int, end: int) -> bytes:
        """See `Files`."""
        with self._path(name).open("rb") as file:
            file.seek(begin)
            data = file.read(end - begin)
        if len(data) != end - begin:
            raise CheckpointUnfit(f"{name}: ends before byte {end}; copy it again")
        return data

    def _path(self, name: str) -> Path:
        """Raises `CheckpointUnfit` for a name that leads out of the folder."""
        parts = PurePosixPath(name).parts
        if not parts or name.startswith("/") or ".." in parts or "\\" in name:
            raise CheckpointUnfit(f"{name!r} leads out of the checkpoint's folder: do not use this checkpoint")
        return self._root / name


class Held:
    """Implements `Files` on bytes in memory: what serves a checkpoint needs its small files alone."""

    def __init__(self, files: Mapping[str, bytes], *, sizes: Mapping[str, int]) -> None:
        """How each begins, by name, and how large it is whole: of weights the header is enough."""
        self._files = dict(files)
        self._sizes = dict(sizes)

    def __str__(self) -> str:
        return "what is kept of a checkpoint"

    def names(self) -> frozenset[str]:
        """See `Files`."""
        return frozenset(self._files)

    def size(self, name: str) -> int:
        """See `Files`."""
        if name not in self._sizes:
            raise CheckpointUnfit(f"{name}: not there; copy the checkpoint again, whole")
        return self._sizes[name]

    def read(self, name: str, begin: int, end: int) -> bytes:
        """See `Files`. Raises `CheckpointUnfit` for bytes that are not held, too."""
        if end > self.size(name):
            raise CheckpointUnfit(f"{name}: ends before byte {end}; copy it again")
        if end > len(self._files[name]):
            raise CheckpointUnfit(f"{name}: its weights are where the checkpoint is, and are read from there")
        return self._files[name][begin:end]


class Counted:
    """Implements `Files` on others, and tells how many of so many bytes went by."""

    def __init__(self, files: Files, total: int, told: Callable[[int, int], None]) -> None:
        self._files = files
        self._total = total
        self._told = told
        self._done = 0

    def __str__(self) -> str:
        return str(self._files)

    def names(self) -> frozenset[str]:
        """See `Files`."""
        return self._files.names()

    def size(self, name: str) -> int:
        """See `Files`."""
        return self._files.size(name)

    def read(self, name: str, begin: int, end: int) -> bytes:
        """See `Files`."""
        data = self._files.read(name, begin, end)
        self._done = min(self._done + len(data), self._total)
        self._told(self._done, self._total)
        return data


def _below(folder: Path, within: tuple[Path, ...]) -> Iterator[Path]:
    """All files in a folder, which lies in these; what cannot be entered is left alone."""
    within = (*within, folder.resolve())
    try:
        inside = list(folder.iterdir())
    except OSError:
        return
    for path in inside:
        if path.is_file():
            yield path
        elif path.is_dir() and path.resolve() not in within:
            yield from _below(path, within)


def amount(done: int, total: int) -> str:
    """So many bytes of all, for people: `1.2 of 28.4 GB`."""
    unit, name = (1e9, "GB") if total >= 1e9 else (1e6, "MB")
    return f"{done / unit:.1f} of {total / unit:.1f} {name}"


def read_small(files: Files, name: str) -> bytes:
    """A whole file that is no weights. Raises `CheckpointUnfit` for one that is missing or too large for that."""
    size = files.size(name)
    if size > MAX_SMALL:
        raise CheckpointUnfit(f"{name}: {size} bytes, where {MAX_SMALL} are allowed; copy it again")
    return files.read(name, 0, size)


def pieces(files: Files, name: str) -> Iterator[bytes]:
    """A whole file, `PIECE` bytes at a time."""
    size = files.size(name)
    for begin in range(0, size, PIECE):
        yield files.read(name, begin, min(begin + PIECE, size))


def digest_of(files: Files, name: str) -> str:
    """sha256 of a whole file, in hexadecimal, read piece by piece."""
    found = hashlib.sha256()
    for piece in pieces(files, name):
        found.update(piece)
    return found.hexdigest()
