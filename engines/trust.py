"""Files of keys on this machine: the one that signs engines, and those whose engines are loaded.

    key        PKCS #8 in PEM, mode 0600; made at the first build into a store
    trusted    a public key a line, `ed25519 <base64> <name>`; `#` begins a comment; removing a line ends the trust

A file that others could have read (a key) or changed (a list) is refused: what it says may not be its owner's word.
`store.py` reads the list each time it looks for engines, the CLI writes both.
"""

from __future__ import annotations

import fcntl
import os
import platform
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from engines.errors import EngineUntrusted
from engines.signing import PublicKey, SigningKey


class TrustedKeys:
    """The file of trusted keys. One that is not there trusts nobody."""

    def __init__(self, path: Path) -> None:
        self.path = path.expanduser()

    def read(self) -> tuple[PublicKey, ...]:
        """Who is trusted now. Raises `EngineUntrusted` for a file that others may write, or that cannot be read."""
        text = _read(self.path, refused=0o022, what="may be changed by others", mend="chmod go-w")
        return tuple(key for _, key in self._keys(text.decode(errors="replace") if text else ""))

    def add(self, key: PublicKey) -> bool:
        """Trust it from now on; False where it is trusted already."""
        with self._locked():
            if key in self.read():
                return False
            text = self.path.read_text() if self.path.exists() else ""
            _replace(self.path, f"{text.rstrip()}\n{key}\n".lstrip(), mode=0o644)
        return True

    def remove(self, key_id: str) -> PublicKey:
        """Trust it no more. Raises `EngineUntrusted` for an id that is not there once."""
        with self._locked():
            known = self.read()
            found = [key for key in known if key_id and key.id.startswith(key_id)]
            if len(found) != 1:
                there = ", ".join(key.id for key in known) or "nobody"
                raise EngineUntrusted(f"{self.path}: {len(found)} keys are {key_id!r}; trusted is {there}")
            text = self.path.read_text()
            gone = {number for number, key in self._keys(text) if key == found[0]}
            left = [line for number, line in enumerate(text.splitlines()) if number not in gone]
            _replace(self.path, "".join(f"{line}\n" for line in left), mode=0o644)
        return found[0]

    def _keys(self, text: str) -> Iterator[tuple[int, PublicKey]]:
        """By number of line."""
        for number, line in enumerate(text.splitlines()):
            said = line.partition("#")[0].strip()
            if said:
                try:
                    yield number, PublicKey.parse(said)
                except ValueError as error:
                    raise EngineUntrusted(f"{self.path}, line {number + 1}: {error}") from error

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Two commands at once do not lose each other's change."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        folder = os.open(self.path.parent, os.O_RDONLY)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            yield
        finally:
            os.close(folder)


def make_key(path: Path, name: str = "") -> SigningKey:
    """Make a key that only this user can read. Raises `FileExistsError`: a key is never overwritten."""
    path = path.expanduser()
    path.parent.mkdir(parents=True, exist_ok=True)
    key = SigningKey.generate(name or key_name())
    handle, partial = tempfile.mkstemp(dir=path.parent, prefix=".key-")  # mode 0600
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(key.to_pem())
            file.flush()
            os.fsync(file.fileno())
        os.link(partial, path)  # whole or not at all, and the first of two makers wins
    finally:
        Path(partial).unlink()
    return key


def load_key(path: Path) -> SigningKey | None:
    """The key of this file; None where there is none. Raises `EngineUntrusted` for one that others may read."""
    path = path.expanduser()
    pem = _read(path, refused=0o077, what="may be read by others: it is a secret no more", mend="chmod 600")
    return None if pem is None else SigningKey.from_pem(pem, key_name(), where=str(path))


def own_key(path: Path, trusted: TrustedKeys) -> SigningKey:
    """The key that signs here. The first time it is made, and trusted here: one machine alone needs no ceremony.

    Raises `EngineUntrusted` for a key that is there and not trusted here: what it signs would be refused.
    """
    key = load_key(path)
    if key is None:
        try:
            key = make_key(path)
        except FileExistsError:  # another build was faster
            return own_key(path, trusted)
        trusted.add(key.public)
    elif key.public not in trusted.read():
        raise EngineUntrusted(
            f"{path} is key {key.public.id}, which is not trusted here: `longtake engines trust add '{key.public}'`"
        )
    return key


def key_name() -> str:
    """What keys of this machine are called."""
    return platform.node()[:80]


def _read(path: Path, *, refused: int, what: str, mend: str) -> bytes | None:
    """The file's bytes, if its owner is this user or root and its mode has none of `refused`; None without a file."""
    try:
        with path.open("rb") as file:
            found = os.fstat(file.fileno())  # of what is read, whatever the name leads to by now
            if not stat.S_ISREG(found.st_mode) or found.st_uid not in (0, os.geteuid()):
                raise EngineUntrusted(f"{path} is no file of this user, or of root: name another, or `chown` it")
            if found.st_mode & refused:
                raise EngineUntrusted(f"{path} {what} (mode {stat.S_IMODE(found.st_mode):04o}): {mend} {path}")
            return file.read()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise EngineUntrusted(f"{path}: {error.strerror}: mend its mode, or name another file") from error


def _replace(path: Path, text: str, *, mode: int) -> None:
    """As a whole: a server never reads half of it."""
    handle, partial = tempfile.mkstemp(dir=path.parent, prefix=".keys-")
    with os.fdopen(handle, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
        os.fchmod(file.fileno(), mode)
    Path(partial).replace(path)
