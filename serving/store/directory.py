"""A store in a local directory: the embedded default.

One object is one file. A create is temporary file → fsync → link; a swap is temporary file → fsync → rename, under an
advisory lock that all processes of the machine share; both end with an fsync of the directory. A version is the digest
of the bytes: records carry a nonce, so equal versions mean the very same write. Network filesystems are refused, for
their locks and links cannot be trusted.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import hashlib
import os
import re
import shutil
import stat
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from operator import itemgetter
from pathlib import Path
from typing import BinaryIO, ParamSpec, TypeVar

from serving.errors import Conflict, NotFound, StoreUnfit, Unavailable
from serving.store.base import Listed, Versioned

P = ParamSpec("P")
T = TypeVar("T")

_KEY = re.compile(r"[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*\Z")
_LOCKS = 256
_LOCK_WITHIN_S = 20.0
_LOCK_PAUSE_S = 0.002
_LEFT_FOR_S = 86_400.0
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
_NETWORK_FILESYSTEMS = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "9p", "afs", "ceph", "lustre", "glusterfs"}
    | {"fuse.sshfs", "fuse.glusterfs", "fuse.ceph", "fuse.s3fs", "fuse.rclone", "fuse.weed"}
)


class DirectoryStore:
    """See the module. Several processes of one machine may use the same directory at once."""

    def __init__(self, root: Path) -> None:
        self._root = root.resolve()
        self._objects = self._root / "objects"
        self._locks = self._root / "locks"
        self._temporary = self._root / "tmp"
        self.url = f"dir://{self._root}"

    async def open(self) -> None:
        """Make the folders. Raises `StoreUnfit` when they cannot be made or lie on a network filesystem."""
        await asyncio.to_thread(self._open)

    async def get(self, key: str) -> Versioned:
        return await self._do(self._get, key)

    async def get_range(self, key: str, start: int, length: int) -> bytes:
        return await self._do(self._get_range, key, start, length)

    async def put_if_absent(self, key: str, data: bytes | Path) -> bool:
        return await self._do(self._put_if_absent, key, data)

    async def swap(self, key: str, data: bytes, expected: str) -> str:
        return await self._do(self._swap, key, data, expected)

    async def list(self, prefix: str, *, after: str = "", limit: int | None = None) -> AsyncIterator[Listed]:
        found = islice(self._walk(self._objects, "", prefix, after), limit)
        while page := await self._do(lambda: list(islice(found, _PAGE))):
            for listed in page:
                yield listed

    async def stat(self, key: str) -> Listed | None:
        return await self._do(self._stat, key)

    async def touch(self, key: str) -> None:
        await self._do(self._touch, key)

    async def delete(self, key: str) -> None:
        await self._do(self._delete, key)

    async def close(self) -> None:
        """Nothing is held open."""

    async def _do(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """In a thread. Raises `Unavailable` for what the file system refuses: it may do it later."""
        try:
            return await asyncio.to_thread(work, *args, **kwargs)
        except OSError as error:
            advice = _ADVICE.get(error.errno or 0, "look at the disk and its mount")
            raise Unavailable(f"store {self.url}: {error.strerror or error}; {advice}", retry_after_s=5) from error

    def _open(self) -> None:
        try:
            for folder in (self._objects, self._locks, self._temporary):
                folder.mkdir(parents=True, exist_ok=True)
            self._sweep_temporary()
        except OSError as error:
            raise StoreUnfit(
                f"store {self.url}: {error.strerror}; name a folder that this user can write with `store`"
            ) from error
        kind = _filesystem(self._root)
        if kind in _NETWORK_FILESYSTEMS:
            raise StoreUnfit(
                f"store {self.url} lies on {kind}, where locks cannot be trusted: use a local disk or an s3:// store"
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
                self._sync_upwards(path.parent)
                return True
        return False

    def _swap(self, key: str, data: bytes, expected: str) -> str:
        path = self._path(key)
        with self._lock(key):
            if self._get(key).version != expected:
                raise Conflict(f"{key} was changed by another writer")
            with self._written(data) as temporary:
                try:
                    temporary.replace(path)
                    _sync_folder(path.parent)
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
        return None if stat.S_ISDIR(found.st_mode) else _listed(key, found)

    def _touch(self, key: str) -> None:
        try:
            os.utime(self._path(key))
        except (FileNotFoundError, NotADirectoryError) as error:
            raise NotFound(f"no object {key}") from error

    def _delete(self, key: str) -> None:
        path = self._path(key)
        path.unlink(missing_ok=True)
        # Folders that are empty now go too, up to one that is not: every job has some of its own.
        with suppress(OSError):
            for folder in path.relative_to(self._objects).parents[:-1]:
                (self._objects / folder).rmdir()

    @contextmanager
    def _lock(self, key: str) -> Iterator[None]:
        bucket = hashlib.sha256(key.encode()).digest()[0] % _LOCKS
        with (self._locks / f"{bucket:02x}").open("ab") as file:
            ends = time.monotonic() + _LOCK_WITHIN_S
            while not _locked(file):
                if time.monotonic() > ends:
                    raise Unavailable(f"store {self.url}: another process holds the lock of {key}; is it stopped?")
                time.sleep(_LOCK_PAUSE_S)
            yield

    @contextmanager
    def _written(self, data: bytes | Path) -> Iterator[Path]:
        """A temporary file on the same filesystem that holds `data` durably; gone afterwards if nobody took it."""
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
        """What writers that were killed have left."""
        for left in os.scandir(self._temporary):
            with suppress(FileNotFoundError):
                # Folders are not ours.
                if left.is_file(follow_symlinks=False) and time.time() - left.stat().st_mtime > _LEFT_FOR_S:
                    Path(left).unlink()

    def _sync_upwards(self, folder: Path) -> None:
        """Make a new name durable, and the folders that may have been made for it."""
        with suppress(FileNotFoundError):  # what was made has been deleted again
            while folder != self._root:
                _sync_folder(folder)
                folder = folder.parent

    def _walk(self, folder: Path, at: str, prefix: str, after: str) -> Iterator[Listed]:
        """Keys below `folder` in byte order. A folder sorts as its name with a `/`, as the keys in it do."""
        names: list[tuple[str, os.DirEntry[str]]] = []
        try:
            for entry in os.scandir(folder):
                key = at + entry.name + ("/" if entry.is_dir() else "")
                # Before the sort: of a folder with very many files often a single one is asked for.
                if key.startswith(prefix) or (entry.is_dir() and prefix.startswith(key)):
                    names.append((key, entry))
        except (FileNotFoundError, NotADirectoryError):
            return
        for key, entry in sorted(names, key=itemgetter(0)):
            if entry.is_dir():
                if key > after or after.startswith(key):
                    yield from self._walk(folder / entry.name, key, prefix, after)
            elif key > after:
                try:
                    yield _listed(key, entry.stat())
                except FileNotFoundError:  # deleted while we listed
                    continue


def _listed(key: str, found: os.stat_result) -> Listed:
    return Listed(key, found.st_size, found.st_mtime_ns // 1_000_000)


def _locked(file: BinaryIO) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _filesystem(path: Path) -> str:
    """The type of the filesystem that holds `path`, from the kernel's table of mounts."""
    best, kind = "", ""
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, mount, found, *_ = line.split()
        mount = mount.replace("\\040", " ")  # how the kernel writes a space
        if len(mount) >= len(best) and (path == Path(mount) or Path(mount) in path.parents):
            best, kind = mount, found
    return kind
