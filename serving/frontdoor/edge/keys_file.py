"""The file of API keys: read by `auth.py`, and changed by `longtake keys` (cli/keys.py).

It holds one JSON object per line: {"id", "tenant", "name", "sha256", "created"}. Only the SHA-256 of a key is kept:
keys are 32 random bytes, so a plain digest is as good as a slow one. A line that cannot be read keeps nobody from
reading, adding or removing the others, and stays as it is.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydantic import AwareDatetime, Field, ValidationError

from serving.errors import SettingsError
from serving.frozen import Digest, Frozen

MOST_NAME_CHARS = 200


class StoredKey(Frozen):
    """One line of the keys file."""

    id: str = Field(pattern=r"^[a-z0-9_-]{1,40}$")
    tenant: str = Field(pattern=r"^[a-z0-9-]{1,40}$")
    """Part of keys in the store, hence the narrow alphabet."""
    name: str
    """For people; `plain_name` says what a new one may be."""
    sha256: Digest
    created: AwareDatetime


@dataclass(frozen=True)
class DamagedLine:
    """A line that is no key."""

    number: int
    """From 1."""
    data: bytes
    why: str


@dataclass(frozen=True)
class KeysFound:
    """What a file holds."""

    path: Path
    keys: tuple[StoredKey, ...]
    damaged: tuple[DamagedLine, ...]

    def complaints(self) -> Iterator[str]:
        """A line for each line that is no key."""
        for line in self.damaged:
            yield f"{self.path}:{line.number}: not a key of `longtake keys add`: {line.why}"


def plain_name(name: str) -> str:
    """Of a new key. Raises `ValueError` for one that is long, or that terminals and logs cannot show as it is."""
    if len(name) > MOST_NAME_CHARS or not name.isprintable():
        raise ValueError(f"name: at most {MOST_NAME_CHARS} characters, and no line breaks or other unprintable ones")
    return name


def digest_of(key: str) -> str:
    """What the file keeps of a key."""
    return hashlib.sha256(key.encode("utf-8", "replace")).hexdigest()


def read_keys(path: Path) -> KeysFound:
    """All keys of a file, and the lines that are none. Raises `OSError`."""
    keys, damaged = [], []
    for number, line in enumerate(path.read_bytes().split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            keys.append(StoredKey.model_validate_json(line))
        except ValidationError as error:
            damaged.append(DamagedLine(number, line, error.errors()[0]["msg"]))
    return KeysFound(path, tuple(keys), tuple(damaged))


def add_key(path: Path, key: StoredKey) -> None:
    """Add a line; the file is made if it is not there. Raises `SettingsError`."""
    with _changing(path) as lines:
        lines.append(key.model_dump_json().encode())


def remove_key(path: Path, key_id: str) -> bool:
    """Remove the line of a key; False when there is none. Raises `SettingsError`."""
    with _changing(path) as lines:
        kept = [line for line in lines if _id_in(line) != key_id]
        found = len(kept) < len(lines)
        lines[:] = kept
    return found


def _id_in(line: bytes) -> str | None:
    try:
        return StoredKey.model_validate_json(line).id
    except ValidationError:
        return None


@contextmanager
def _changing(path: Path) -> Iterator[list[bytes]]:
    """The lines, to be changed within the block; one process at a time. The file is replaced as a whole, readable by
    its owner alone: neither a server nor a full disk leaves half of it.
    """
    try:
        path = path.resolve()  # what a link leads to is replaced, not the link
        path.parent.mkdir(parents=True, exist_ok=True)
        with (path.parent / f".{path.name}.lock").open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            before = path.read_bytes() if path.exists() else b""
            lines = [line for line in before.split(b"\n") if line.strip()]
            yield lines
            after = b"".join(line + b"\n" for line in lines)
            if after != before:
                _replace(path, after)
    except OSError as error:
        raise SettingsError(f"{path} cannot be changed: {error.strerror or error}") from error


def _replace(path: Path, data: bytes) -> None:
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except OSError:
        Path(name).unlink(missing_ok=True)
        raise
