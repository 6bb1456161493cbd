"""Files of keys on this machine: the one that signs engines, and those whose engines are loaded.

    key        PKCS #8 in PEM, mode 0600; made at the first build into a store
    trusted    a public key a line, `ed25519 <base64> <name>`; removing a line ends the trust. A line `refused <sha256
               of a manifest>` refuses these engines, whoever signed them. `#` begins a comment

A file that others could have read (a key) or changed (a list) is refused: what it says may not be its owner's word.
`store.py` reads the list each time it looks for engines, the CLI writes both.
"""

from __future__ import annotations

import fcntl
import os
import platform
import re
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from engines.errors import EngineUntrusted
from engines.signing import PublicKey, SigningKey

_REFUSED: Final = "refused"
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")


class TrustedKeys:
    """The file of trusted keys. One that is not there trusts nobody."""

    def __init__(self, path: Path) -> None:
        self.path = path.expanduser()

    def read(self) -> tuple[PublicKey, ...]:
        """Who is trusted now. Raises `EngineUntrusted` for a file that others may write, or that cannot be read."""
        return tuple(said for _, said in self._lines() if isinstance(said, PublicKey))

    def refused(self) -> tuple[str, ...]:
        """Digests of manifests that are refused here. Raises as `read`."""
        return tuple(said for _, said in self._lines() if isinstance(said, str))

    def add(self, key: PublicKey) -> bool:
        """Trust it from now on; False where it is trusted already."""
        return self._append(key)

    def refuse(self, manifest_digest: str) -> bool:
        """Load these engines no more, should they be put back; False where they are refused already.

        Raises `ValueError` for what is no digest.
        """
        if not _DIGEST.fullmatch(manifest_digest):
            raise ValueError(f"{manifest_digest!r} is no digest of a manifest: 64 of 0-9 a-f, as `engines rm` shows it")
        return self._append(manifest_digest)

    def remove(self, which: str) -> PublicKey | str:
        """Take back a key or a refusal: its id or digest, or how that begins. Raises `EngineUntrusted` where not
        exactly one is meant."""
        with self._locked():
            known = {_id(said): said for _, said in self._lines()}
            found = [name for name in known if which and name.startswith(which)]
            if len(found) != 1:
                there = ", ".join(name[:16] for name in known) or "nobody"
                raise EngineUntrusted(f"{self.path}: {which!r} names {len(found)} lines of it; there is {there}")
            gone = {number for number, said in self._lines() if _id(said) == found[0]}
            left = [line for number, line in enumerate(self._text().splitlines()) if number not in gone]
            _replace(self.path, "".join(f"{line}\n" for line in left), mode=0o644)
        return known[found[0]]

    def _append(self, new: PublicKey | str) -> bool:
        with self._locked():
            if new in [said for _, said in self._lines()]:
                return False
            line = new if isinstance(new, PublicKey) else f"{_REFUSED} {new}"
            _replace(self.path, f"{self._text().rstrip()}\n{line}\n".lstrip(), mode=0o644)
        return True

    def _text(self) -> str:
        data = _read(self.path, refused=0o022, what="may be changed by others", mend="chmod go-w")
        return data.decode(errors="replace") if data else ""

    def _lines(self) -> Iterator[tuple[int, PublicKey | str]]:
        """By number of line: a key, or the digest of a manifest that is refused."""
        for number, line in enumerate(self._text().splitlines()):
            said = line.partition("#")[0].strip()
            word, _, digest = said.partition(" ")
            if word == _REFUSED and _DIGEST.fullmatch(digest.strip()):
                yield number, digest.strip()
            elif said:
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


def make_key(path: Path, trusted: TrustedKeys, name: str = "") -> SigningKey:
    """Make a key that only this user can read, trusted here. Raises `FileExistsError`: a key is never overwritten."""
    path = path.expanduser()
    path.parent.mkdir(parents=True, exist_ok=True)
    key = SigningKey.generate(name or key_name())
    handle, partial = tempfile.mkstemp(dir=path.parent, prefix=".key-")  # mode 0600
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(key.to_pem())
            file.flush()
            os.fsync(file.fileno())
        trusted.add(key.public)  # first: whoever finds the key finds it trusted
        try:
            os.link(partial, path)  # whole or not at all, and the first of two makers wins
        except OSError:
            trusted.remove(key.public.id)
            raise
    finally:
        Path(partial).unlink()
    return key


def load_key(path: Path) -> SigningKey | None:
    """The key of this file; None where there is none. Raises `EngineUntrusted` for one that others may read."""
    path = path.expanduser()
    if path.is_symlink() and not path.exists():
        raise EngineUntrusted(f"{path} is a link to nothing: is what holds the key mounted? Or name another file")
    pem = _read(path, refused=0o077, what="may be read by others: it is a secret no more", mend="chmod 600")
    return None if pem is None else SigningKey.from_pem(pem, key_name(), where=str(path))


def own_key(path: Path, trusted: TrustedKeys) -> SigningKey:
    """The key that signs here. The first time it is made, and trusted here: one machine alone needs no ceremony.

    Raises `EngineUntrusted` for a key that is there and not trusted here: what it signs would be refused.
    """
    key = load_key(path)
    if key is None:
        try:
            return make_key(path, trusted)
        except FileExistsError:  # another build was faster
            return own_key(path, trusted)
    if key.public not in trusted.read():
        raise EngineUntrusted(
            f"{path} is key {key.public.id}, which is not trusted here: `longtake engines trust add '{key.public}'`"
        )
    return key


def key_name() -> str:
    """What keys of this machine are called."""
    return re.sub(r"[^A-Za-z0-9._-]", "-", platform.node())[:80]


def _id(said: PublicKey | str) -> str:
    return said.id if isinstance(said, PublicKey) else said


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
    try:
        with os.fdopen(handle, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
            os.fchmod(file.fileno(), mode)
        Path(partial).replace(path)
    finally:
        Path(partial).unlink(missing_ok=True)
