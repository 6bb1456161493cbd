"""The large weights of an engine: files beside it, and the folder where they lie on this machine.

A graph has its weights inside as far as that goes; protobuf ends at 2 GB. From some size on they lie beside it, each
file named by the sha256 of its bytes, also within the graph. `building/beside.py` writes such files, `store.py` brings
them to machines that serve, and a runtime maps them from the folder:

    <sha256>              a file, whole; its bytes are checked again whenever an engine is loaded
    <anything>.partial    one that is being written, locked by who writes it
    <anything else>       what this machine has made itself for its next start (`kept.py`)

Processes of a machine share the folder: one fetches, the others wait for it. What nobody loaded for 30 days goes when
another file comes. Anybody may remove a file at any time: who runs it has it mapped, and it is fetched again.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import os
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

from engines.errors import EngineCorrupt, EngineError, EngineUntrusted

if TYPE_CHECKING:
    from collections.abc import Iterator

PARTIAL: Final = ".partial"
CHUNK_BYTES: Final = 8 << 20
"""Read at once."""
UNUSED_S: Final = 30 * 86_400
"""A file that was loaded by nobody for so long goes."""
POLL_S: Final = 0.2
"""Between two looks at a file that another process fetches."""
Chunk = Callable[[int, int], Awaitable[bytes]]
"""Gives so many bytes from this place on, fewer at the end."""


@dataclass(frozen=True)
class WeightsFile:
    """One file beside an engine."""

    sha256: str
    """Of its bytes, and its name."""
    size: int
    """Bytes."""


@dataclass(frozen=True)
class Weights:
    """The files beside one engine, as they lie here."""

    folder: Path
    files: tuple[WeightsFile, ...]


class WeightsFolder:
    """A folder of this user's, made when it is first needed."""

    def __init__(self, path: Path) -> None:
        self.path = path.expanduser()

    def file(self, file: WeightsFile) -> Path:
        """Where it lies, or would lie."""
        return self.path / file.sha256

    def intact(self, file: WeightsFile) -> bool:
        """Whether it is here, byte for byte."""
        try:
            with self.file(file).open("rb") as opened:
                if os.fstat(opened.fileno()).st_size != file.size:
                    return False
                return hashlib.file_digest(opened, "sha256").hexdigest() == file.sha256
        except FileNotFoundError:
            return False

    def put(self, pieces: Iterable[bytes]) -> WeightsFile:
        """Write a file, its bytes piece by piece."""
        self.prepare()
        self._make_room()
        opened, digest = None, hashlib.sha256()
        while opened is None:  # one that another process took for a dead one's is not used
            path = self.path / f"{secrets.token_hex(8)}{PARTIAL}"
            opened = self._claim(path)
        with gone_after(opened, path):
            for piece in pieces:
                digest.update(piece)
                with self._told():
                    opened.write(piece)
            made = WeightsFile(digest.hexdigest(), opened.tell())
            self._finish(opened, path, made)
        return made

    async def hold(self, file: WeightsFile, chunk: Chunk, *, where: str) -> None:
        """Have it here: left as it is where it is intact, else fetched, by one process of all that want it.

        Raises `EngineCorrupt` naming `where` for other bytes than it should have; nothing is left of them.
        """
        with suppress(FileNotFoundError):
            os.utime(self.file(file))  # first: nobody takes it for one that is not used
        await asyncio.to_thread(self.prepare)
        if not await asyncio.to_thread(self.intact, file):
            async with self._turn(file) as opened:
                # Whoever was waited for has fetched it.
                if not await asyncio.to_thread(self.intact, file):
                    await self._fetch(file, opened, chunk, where)

    async def _fetch(self, file: WeightsFile, opened: IO[bytes], chunk: Chunk, where: str) -> None:
        digest = hashlib.sha256()

        def take(data: bytes) -> None:
            digest.update(data)
            with self._told():
                opened.write(data)

        await asyncio.to_thread(self._make_room)
        opened.truncate(0)
        while opened.tell() <= file.size:
            # One byte more than there should be: an object that is too large is noticed, and not read.
            data = await chunk(opened.tell(), min(CHUNK_BYTES, file.size - opened.tell() + 1))
            if not data:
                break
            await asyncio.to_thread(take, data)
        if opened.tell() != file.size or digest.hexdigest() != file.sha256:
            raise EngineCorrupt(
                f"{where}: not the weights that the manifest names ({opened.tell()} bytes of {file.size}, or "
                "another digest): remove these engines with `longtake engines rm`, and build them again"
            )
        await asyncio.to_thread(self._finish, opened, self._partial(file), file)

    @asynccontextmanager
    async def _turn(self, file: WeightsFile) -> AsyncIterator[IO[bytes]]:
        """Its partial file, which nobody else writes while the block runs."""
        # A lock of the system is given to nobody by an event, and a killed process lets go of it.
        while (opened := self._claim(self._partial(file))) is None:  # noqa: ASYNC110
            await asyncio.sleep(POLL_S)
        with gone_after(opened, self._partial(file)):
            yield opened

    def _partial(self, file: WeightsFile) -> Path:
        return self.path / f"{file.sha256}{PARTIAL}"

    def _claim(self, path: Path) -> IO[bytes] | None:
        """See `claimed`."""
        with self._told():
            return claimed(path)

    def _finish(self, opened: IO[bytes], partial: Path, file: WeightsFile) -> None:
        with self._told():
            opened.flush()
            os.fsync(opened.fileno())
            partial.replace(self.file(file))

    @contextmanager
    def _told(self) -> Iterator[None]:
        """What the disk says, with what to do."""
        try:
            yield
        except OSError as error:
            raise EngineError(
                f"{self.path}: {error.strerror}; make room there, or name another folder in `engines.weights_folder`"
            ) from error

    def prepare(self) -> None:
        """Make the folder; take away what nobody writes any more. Raises `EngineUntrusted` for a folder that
        others may write."""
        with self._told():
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        there = self.path.stat()
        if there.st_uid != os.geteuid() or there.st_mode & 0o022:
            raise EngineUntrusted(
                f"{self.path}: others may change what is loaded from there: `chmod go-w`, or name a folder in "
                "`engines.weights_folder` that is this user's, or is not there yet"
            )
        for path in self.path.iterdir():
            if path.suffix == PARTIAL:
                left = self._claim(path)
                if left is not None:  # of a process that was killed
                    with gone_after(left, path):
                        pass

    def _make_room(self) -> None:
        """Take away what nobody has loaded for long, where another file comes: what a machine has served for months is
        still there when it starts again."""
        for path in self.path.iterdir():
            with suppress(FileNotFoundError):  # another process is at it too
                if path.suffix != PARTIAL and path.stat().st_mtime < time.time() - UNUSED_S:
                    path.unlink()


def claimed(path: Path) -> IO[bytes] | None:
    """A partial file, made if there is none, that is ours until it is closed; None while it is another's."""
    opened = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600), "r+b")
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        opened.close()
        return None
    if is_at(opened, path):
        return opened
    opened.close()  # who had it before has finished it, or taken it away
    return None


def is_at(opened: IO[bytes], path: Path) -> bool:
    """Whether this file lies there, and no other one of that name."""
    try:
        return os.path.samestat(os.fstat(opened.fileno()), path.lstat())
    except FileNotFoundError:
        return False


@contextmanager
def gone_after(opened: IO[bytes], path: Path) -> Iterator[None]:
    """The partial file has become a whole one in the block, or is gone after it."""
    try:
        yield
    finally:
        if is_at(opened, path):
            path.unlink()
        with suppress(OSError):  # what a full disk has not taken is tried again by this, and was told before
            opened.close()
