"""A store in a local directory: the embedded default.

One object is one file. A create is temporary file → fsync → link; a swap is temporary file → fsync → rename, under an
advisory lock that all processes of the machine share; both end with an fsync of the directory. A version is the digest
of the bytes: records carry a nonce, so equal versions mean the very same write. A lock is tried for and never waited
for in a thread: the process that has it may be stopped. File systems that are not known to be local are refused, for
their locks and links cannot be trusted.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import hashlib
import os
import random
import re
import shutil
import stat
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TypeVar

from serving.errors import Conflict, NotFound, StoreMissing, StoreUnfit, Unavailable
from serving.store.base import Listed, Versioned
from serving.store.filesystems import LOCAL, filesystem_of
from serving.store.folders import Folders, sync_folder
from serving.store.lanes import Lanes
from serving.store.walking import listed, walk

T = TypeVar("T")

_KEY = re.compile(r"[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*\Z")
_LOCKS = 256
_LOCK_WITHIN_S = 20.0
_LOCK_PAUSE_S = (0.002, 0.05)
"""At first, and at most."""
_LEFT_FOR_S = 3_600.0
"""What lies in `tmp` unwritten for so long is nobody's: its writer was killed."""
_ADVICE = {
    errno.ENOSPC: "free some space: `longtake gc` deletes what nobody needs",
    errno.EDQUOT: "the user's quota is used up: free some space, or raise it",
    errno.EMFILE: "this process has too many files open: raise `ulimit -n`",
    errno.ENFILE: "the machine has too many files open: raise `fs.file-max`",
    errno.EACCES: "this user may not write there: mend the owner or the mode",
    errno.EPERM: "this user may not write there: mend the owner or the mode",
    errno.ENOENT: "folders of it were removed: start again, which makes them anew, or restore them",
    errno.EROFS: "it is mounted read-only: see the kernel log for why, and mount it for writing",
}
_PAGE = 1000


class _Busy(Exception):
    """Somebody else has the lock at this moment."""


class DirectoryStore:
    """See the module. Several processes of one machine may use the same directory at once."""

    def __init__(self, root: Path, *, local: bool = False) -> None:
        """`local`: whoever runs it knows that one machine alone uses this file system, whatever its kind."""
        self._root = root.resolve()
        self._objects = self._root / "objects"
        self._locks = self._root / "locks"
        self._temporary = self._root / "tmp"
        self._known_as_local = local
        self._lanes = Lanes("directory")
        self._folders = Folders(self._root)
        self._swept_s: float | None = None
        self.url = f"dir://{self._root}"

    @property
    def root(self) -> Path:
        """Its folder, which stands by itself: no link leads there."""
        return self._root

    async def open(self, *, create: bool = True) -> None:
        """Make the folders. Raises `StoreUnfit` when they cannot be made, or lie on no local file system; without
        `create`, `StoreMissing` where there is no store.
        """
        if not create:
            await self._do("", self._demand_there)
        await self._do("", self._open)

    async def get(self, key: str) -> Versioned:
        return await self._do(key, partial(self._get, key))

    async def get_range(self, key: str, start: int, length: int) -> bytes:
        return await self._do(key, partial(self._get_range, key, start, length))

    async def put_if_absent(self, key: str, data: bytes | Path) -> bool:
        return await self._do(key, partial(self._put_if_absent, key, data))

    async def swap(self, key: str, data: bytes, expected: str) -> str:
        return await self._locked(key, partial(self._swap, key, data, expected))

    async def list(self, prefix: str, *, after: str = "", limit: int | None = None) -> AsyncIterator[Listed]:
        found = islice(walk(str(self._objects), prefix, after), limit)
        while page := await self._do(prefix, lambda: list(islice(found, _PAGE))):
            for entry in page:
                yield entry

    async def stat(self, key: str) -> Listed | None:
        return await self._do(key, partial(self._stat, key))

    async def touch(self, key: str) -> None:
        await self._locked(key, partial(self._touch, key))

    async def delete(self, key: str, *, by_ms: int | None = None) -> None:
        if by_ms is None:
            await self._do(key, partial(self._delete, key))
        else:
            await self._locked(key, partial(self._delete_by, key, by_ms))

    async def close(self) -> None:
        """End the threads, and hold no folder open."""
        self._lanes.close()
        self._folders.close()

    async def _do(self, key: str, work: Callable[[], T]) -> T:
        """In a thread. Raises `Unavailable` for what the file system refuses: it may do it later."""
        try:
            return await self._lanes.run(key, work)
        except OSError as error:
            advice = _ADVICE.get(error.errno or 0, "look at the disk and its mount")
            raise Unavailable(f"store {self.url}: {error.strerror or error}; {advice}", retry_after_s=5) from error

    async def _locked(self, key: str, work: Callable[[], T]) -> T:
        """Try `work`, which takes the lock of `key`, until it gets it. No thread is kept waiting meanwhile."""
        now = asyncio.get_running_loop().time
        ends, pause_s = now() + _LOCK_WITHIN_S, _LOCK_PAUSE_S[0]
        while True:
            try:
                return await self._do(key, work)
            except _Busy:
                if now() > ends:
                    raise Unavailable(
                        f"store {self.url}: another process holds the lock of {key}; is it stopped?"
                    ) from None
            await asyncio.sleep(pause_s * (0.5 + random.random()))  # noqa: S311  (no secret)
            pause_s = min(2 * pause_s, _LOCK_PAUSE_S[1])

    def _demand_there(self) -> None:
        if not self._objects.is_dir():
            found = "holds no store" if self._root.exists() else "is not there"
            raise StoreMissing(f"store {self.url} {found}")

    def _open(self) -> None:
        try:
            for folder in (self._objects, self._locks, self._temporary):
                folder.mkdir(parents=True, exist_ok=True)
            self._sweep_temporary()
        except OSError as error:
            raise StoreUnfit(
                f"store {self.url}: {error.strerror}; name a folder that this user can write with `store`"
            ) from error
        kind = filesystem_of(self._root)
        if kind not in LOCAL and not self._known_as_local:
            raise StoreUnfit(
                f"store {self.url} lies on {kind or 'a file system of unknown kind'}, where locks and links may not be "
                f"what they are on a local disk: use one, or an s3:// store. If this machine alone uses it, and it has "
                f"both, say so: {self.url}?local=true"
            )

    def _path(self, key: str) -> Path:
        if not _KEY.match(key) or any(part in (".", "..") for part in key.split("/")):
            raise ValueError(f"{key!r} is no key: parts of [A-Za-z0-9._-] with / between them")
        return self._objects / key

    def _get(self, key: str) -> Versioned:
        try:
            data = self._path(key).read_bytes()
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
            raise NotFound(f"no object {key}") from error
        return Versioned(data, hashlib.sha256(data).hexdigest())

    def _get_range(self, key: str, start: int, length: int) -> bytes:
        try:
            with self._path(key).open("rb") as file:
                file.seek(start)
                return file.read(length)
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
            raise NotFound(f"no object {key}") from error

    def _put_if_absent(self, key: str, data: bytes | Path) -> bool:
        path = self._path(key)
        if path.exists():
            self._sync(path.parent)  # whoever made it may not have come so far, and we answer for it now
            return False
        with self._written(data) as temporary:
            while not path.exists():
                try:
                    path.parent.mkdir(parents=True, exist_ok=True)
                    os.link(temporary, path)
                except (FileExistsError, FileNotFoundError):
                    # Another writer was faster, or the folder was empty and was removed at this moment: look again.
                    if path.parent.is_file() or not temporary.exists():
                        raise
                    continue
                self._sync(path.parent)
                return True
        self._sync(path.parent)
        return False

    def _swap(self, key: str, data: bytes, expected: str) -> str:
        path = self._path(key)
        with self._lock(key):
            if self._get(key).version != expected:
                raise Conflict(f"{key} was changed by another writer")
            with self._written(data) as temporary:
                try:
                    temporary.replace(path)
                    sync_folder(path.parent)
                except FileNotFoundError as error:
                    if path.parent.exists():  # what is missing is ours: no word on the object
                        raise
                    # It was deleted at this moment, and its folder with it.
                    raise NotFound(f"no object {key}") from error
        return hashlib.sha256(data).hexdigest()

    def _stat(self, key: str) -> Listed | None:
        try:
            found = self._path(key).stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        return None if stat.S_ISDIR(found.st_mode) else listed(key, found)

    def _touch(self, key: str) -> None:
        with self._lock(key):
            try:
                os.utime(self._path(key))
            except (FileNotFoundError, NotADirectoryError) as error:
                raise NotFound(f"no object {key}") from error

    def _delete_by(self, key: str, by_ms: int) -> None:
        """Under the lock that a touch takes, too: nobody finds it, and makes it young, while it is on its way out."""
        with self._lock(key):
            if time.time() * 1000 > by_ms:
                raise Unavailable(f"store {self.url}: it is too late now to delete {key}", retry_after_s=60)
            self._delete(key)

    def _delete(self, key: str) -> None:
        path = self._path(key)
        path.unlink(missing_ok=True)
        # Folders that are empty now go too, up to one that is not: every job has some of its own.
        with suppress(OSError):
            for folder in path.relative_to(self._objects).parents[:-1]:
                (self._objects / folder).rmdir()

    @contextmanager
    def _lock(self, key: str) -> Iterator[None]:
        """All processes share it. Raises `_Busy` at once when somebody has it."""
        bucket = hashlib.sha256(key.encode()).digest()[0] % _LOCKS
        with (self._locks / f"{bucket:02x}").open("ab") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise _Busy from error
            yield

    @contextmanager
    def _written(self, data: bytes | Path) -> Iterator[Path]:
        """A temporary file on the same filesystem that holds `data` durably; gone afterwards if nobody took it."""
        self._sweep_temporary()
        handle, name = tempfile.mkstemp(dir=self._temporary)
        temporary = Path(name)
        try:
            with os.fdopen(handle, "wb") as file:
                if isinstance(data, Path):
                    with data.open("rb") as source:
                        shutil.copyfileobj(source, file, 1 << 20)
                else:
                    file.write(data)
                file.flush()
                os.fsync(file.fileno())
            yield temporary
        finally:
            temporary.unlink(missing_ok=True)

    def _sweep_temporary(self) -> None:
        """Now and then: what writers that were killed have left."""
        now = time.monotonic()
        if self._swept_s is not None and now - self._swept_s < _LEFT_FOR_S:
            return
        self._swept_s = now
        for left in os.scandir(self._temporary):
            with suppress(FileNotFoundError):
                # Folders are not ours.
                if left.is_file(follow_symlinks=False) and time.time() - left.stat().st_mtime > _LEFT_FOR_S:
                    Path(left).unlink()

    def _sync(self, folder: Path) -> None:
        """Make a new name durable, and the folders that may have been made for it."""
        with suppress(FileNotFoundError):  # what was made has been deleted again
            self._folders.sync(folder)
