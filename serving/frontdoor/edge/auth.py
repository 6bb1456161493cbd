"""API keys: who calls. `rpc.py` asks once per call; `longtake keys` (cli/keys.py) writes the file.

The file holds one JSON object per line: {"id", "tenant", "name", "sha256", "created"}. Only the SHA-256 of a key is
kept: keys are 32 random bytes, so a plain digest is as good as a slow one. Without a file (allowed on loopback only)
everyone is the tenant `default`.
"""

from __future__ import annotations

import contextlib
import hashlib
from dataclasses import dataclass
from pathlib import Path

from pydantic import AwareDatetime, Field, ValidationError

from serving.errors import SettingsError, Unauthenticated
from serving.frozen import Digest, Frozen

BEARER = "Bearer "


@dataclass(frozen=True)
class Caller:
    """Who calls: all that the rooms behind the edge know of it."""

    tenant: str
    api_key_id: str
    name: str
    key_hint: str = ""
    """The key with all but its ends blotted out, for `get_api_key_info`."""


class StoredKey(Frozen):
    """One line of the keys file."""

    id: str = Field(pattern=r"^[a-z0-9_-]{1,40}$")
    tenant: str = Field(pattern=r"^[a-z0-9-]{1,40}$")
    """Part of keys in the store, hence the narrow alphabet."""
    name: str
    sha256: Digest
    created: AwareDatetime


DEFAULT_CALLER = Caller(tenant="default", api_key_id="", name="local")


def digest_of(key: str) -> str:
    """What the file keeps of a key."""
    return hashlib.sha256(key.encode()).hexdigest()


def read_keys(path: Path) -> list[StoredKey]:
    """All keys of a file. Raises `SettingsError` naming the line that is wrong."""
    keys = []
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path}: not a file of `longtake keys add`: {error}") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            keys.append(StoredKey.model_validate_json(line))
        except ValidationError as error:
            what = error.errors()[0]["msg"]
            raise SettingsError(f"{path}:{number}: not a key of `longtake keys add`: {what}") from error
    return keys


class Keys:
    """The keys that a front door knows. `caller` is on the path of every call: one hash, one look-up."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._stamp: tuple[int, int] | None = None
        self._keys: dict[str, StoredKey] = {}
        self.refresh()

    def refresh(self) -> None:
        """Read the file again if it changed: keys are added and removed while the server runs."""
        if self._path is None:
            return
        status = self._path.stat()
        stamp = (status.st_mtime_ns, status.st_size)
        if stamp != self._stamp:
            self._keys = {key.sha256: key for key in read_keys(self._path)}
            self._stamp = stamp

    def caller(self, authorization: str | None) -> Caller:
        """Who sends this `authorization` header. Raises `Unauthenticated`."""
        if self._path is None:
            return DEFAULT_CALLER
        if not authorization:
            raise Unauthenticated("no API key: send `authorization: Bearer <key>`", reason="API_KEY_MISSING")
        if not authorization.startswith(BEARER):
            raise Unauthenticated("the `authorization` header must read `Bearer <key>`", reason="API_KEY_MALFORMED")
        key = authorization[len(BEARER) :].strip()
        digest = digest_of(key)
        if digest not in self._keys:
            # A key that was just added. If the file cannot be read now, the known keys stay good.
            with contextlib.suppress(SettingsError, OSError):
                self.refresh()
        found = self._keys.get(digest)
        if found is None:
            raise Unauthenticated("unknown API key: `longtake keys ls` shows the known ones", reason="API_KEY_UNKNOWN")
        return Caller(found.tenant, found.id, found.name, key_hint=f"{key[:6]}…{key[-4:]}")
