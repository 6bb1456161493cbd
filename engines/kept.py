"""What a runtime has made on this machine and would make again at the next start, kept in the folder of weights.

Kernels that a loaded engine made, or how fast kernels were at a build: native code, or what native code reads without
asking twice. So nothing of it comes from a store, and a file is read only if nobody else could have written it or read
it, and if its bytes are whole. Nothing depends on it: what cannot be read or written is made anew.

    <name>            a digest of what follows, and then that
    <name>.trying     the same while a process is loading it, locked by that process

Native code may crash on what it wrote itself. A file `.trying` that nobody holds was left by a process that ended while
it loaded that: it is not tried again, but taken away.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from engines.errors import EngineError
from engines.weights import PARTIAL, UNUSED_S, WeightsFolder, claimed, gone_after, is_at

TRYING: Final = ".trying"
SUFFIX: Final = ".kept"
_DIGEST_BYTES: Final = hashlib.sha256().digest_size
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


@dataclass(frozen=True)
class Kept:
    """Where a runtime may keep what it makes of one thing."""

    folder: WeightsFolder
    of: str
    """Of what: an engine's digest, or the name of whatever else. Files begin with it."""

    def file(self, kind: str, bound_to: str) -> KeptFile:
        """One of this kind, for what it is bound to: a device and versions."""
        return KeptFile(self.folder, f"{self.of}.{bound_to}.{kind}{SUFFIX}")


class Trial:
    """A kept file while it is loaded."""

    def __init__(self, data: bytes | None) -> None:
        self.data = data
        """None where there is nothing that may be loaded."""
        self.refused = False

    def refuse(self) -> None:
        """It is of no use: it goes when the trial ends."""
        self.refused = True


class KeptFile:
    """One file. Its methods raise nothing of their own: what fails leaves nothing kept."""

    def __init__(self, folder: WeightsFolder, name: str) -> None:
        self._folder = folder
        self.path = folder.path / name
        self._mark = folder.path / f"{name}{TRYING}"
        self._digest: bytes | None = None
        """Of what lies there, as far as this process knows."""

    @contextmanager
    def tried(self) -> Iterator[Trial]:
        """What lies there, to be loaded within the block: if the process ends in it, nobody tries that again."""
        opened, marked = self._taken()
        if opened is None:
            yield Trial(None)
            return
        with opened:
            trial = Trial(self._read(opened))
            if trial.data is None:
                trial.refuse()
            try:
                yield trial
            finally:
                if trial.refused:
                    self._digest = None
                if marked:
                    self._ended(opened, trial)

    def put(self, data: bytes) -> bool:
        """Keep these bytes, unless they lie there already. Returns whether they do."""
        digest = hashlib.sha256(data).digest()
        if digest == self._digest:
            return True
        try:
            self._folder.prepare()
            self._make_room()
            partial = self.path.with_name(f"{self.path.name}{PARTIAL}")
            opened = claimed(partial)
            if opened is None:  # another process keeps its own
                return False
            with gone_after(opened, partial):
                opened.truncate(0)
                opened.write(digest)
                opened.write(data)
                opened.flush()
                os.fsync(opened.fileno())
                partial.replace(self.path)
        except (OSError, EngineError):  # no room, or a folder that others may write
            return False
        self._digest = digest
        return True

    def _taken(self) -> tuple[IO[bytes] | None, bool]:
        """The file, if there is one that may be loaded, and whether it was marked by this process.

        Of processes that start at once, one marks it, and the others load the same.
        """
        with suppress(OSError, EngineError):
            self._folder.prepare()
            opened = self._held()
            if opened is not None:
                return opened, False
            opened = _opened(self.path)
            if opened is None:
                return None, False
            if not _locked(opened):
                return opened, False
            if is_at(opened, self.path) and self._marked():  # nobody has put another there meanwhile
                return opened, True
            opened.close()
        return None, False

    def _marked(self) -> bool:
        with suppress(OSError):
            self.path.replace(self._mark)
            return True
        return False

    def _held(self) -> IO[bytes] | None:
        """The file that another process is loading. One that nobody holds goes: who was loading it has crashed."""
        opened = _opened(self._mark)
        if opened is not None and _locked(opened):
            with opened:
                if is_at(opened, self._mark):
                    self._mark.unlink()
            return None
        return opened

    def _read(self, opened: IO[bytes]) -> bytes | None:
        """Its bytes, if they are whole."""
        try:
            os.utime(opened.fileno())  # it is in use
            digest, data = opened.read(_DIGEST_BYTES), opened.read()
        except OSError:
            return None
        if hashlib.sha256(data).digest() != digest:
            return None
        self._digest = digest
        return data

    def _ended(self, opened: IO[bytes], trial: Trial) -> None:
        """Take the mark away, and the file with it where it was refused."""
        with suppress(OSError):
            if not is_at(opened, self._mark):  # somebody has cleared the folder
                self._digest = None
            elif trial.refused:
                self._mark.unlink()
            else:
                self._mark.replace(self.path)

    def _make_room(self) -> None:
        """Take away what was kept and not used for long: of engines, versions and devices that are gone."""
        for path in self._folder.path.iterdir():
            if path.name.endswith((SUFFIX, f"{SUFFIX}{TRYING}")):
                with suppress(FileNotFoundError):
                    if path.stat().st_mtime < time.time() - UNUSED_S:
                        path.unlink()


def _opened(path: Path) -> IO[bytes] | None:
    """A file that nobody else can have written, or read; None where there is none. Raises `OSError`."""
    try:
        opened = os.fdopen(os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK), "r+b")
    except FileNotFoundError:
        return None
    there = os.fstat(opened.fileno())
    if stat.S_ISREG(there.st_mode) and there.st_uid == os.geteuid() and not there.st_mode & _OTHERS:
        return opened
    opened.close()
    return None


def _locked(opened: IO[bytes]) -> bool:
    """Whether it is ours until it is closed, and not another process's."""
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
