"""API keys: who calls. `rpc.py` asks once per call, before it reads anything; `keys_file.py` has the file.

Without a file (allowed on loopback only) everyone is the tenant `default`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from serving.errors import SettingsError, Unauthenticated
from serving.frontdoor.edge.keys_file import KeysFound, StoredKey, digest_of, read_keys
from serving.logs import logger

BEARER = "Bearer "


@dataclass(frozen=True)
class Caller:
    """Who calls: all that the rooms behind the edge know of it."""

    tenant: str
    api_key_id: str
    name: str
    key_hint: str = ""
    """The key with all but its ends blotted out, for `get_api_key_info`."""


DEFAULT_CALLER = Caller(tenant="default", api_key_id="", name="local")


class Keys:
    """The keys that a front door knows. `caller` is on the path of every call: one hash, one look-up."""

    def __init__(self, path: Path | None) -> None:
        """Raises `SettingsError` for a file that cannot be read, or that holds nothing but damaged lines."""
        self._path = path
        self._stamp: tuple[int, int, int] | None = None
        self._keys: dict[str, StoredKey] = {}
        self._callers: dict[str, Caller] = {}
        """Of the known keys, those that called."""
        self._streams: dict[str, set[asyncio.Timeout]] = {}
        """What goes on for longer than a call, by the id of its key."""
        self._log = logger("keys")
        if path is None:
            return
        try:
            found = self._read(path)
        except OSError as error:
            raise SettingsError(f"setting `auth.keys_file`: {path} cannot be read: {error.strerror}") from error
        if found is not None and found.damaged and not found.keys:
            raise SettingsError(f"setting `auth.keys_file`: {next(found.complaints())}")

    def refresh(self) -> None:
        """Read the file again if it changed: keys are added and removed while the server runs.

        Where it cannot be read, the known keys stay good: a mistake must not lock everybody out.
        """
        if self._path is None:
            return
        try:
            self._read(self._path)
        except OSError as error:
            self._log.error("the keys file cannot be read", details=str(error))

    def _read(self, path: Path) -> KeysFound | None:
        """What it holds; None where it did not change."""
        status = path.stat()
        stamp = (status.st_mtime_ns, status.st_size, status.st_ino)
        if stamp == self._stamp:
            return None
        found = read_keys(path)
        self._stamp = stamp
        for complaint in found.complaints():
            self._log.error("a line of the keys file was passed over", details=complaint)
        left = {key.sha256: key for key in found.keys} | self._still_meant(found)
        self._end_streams({key.id for key in self._keys.values()} - {key.id for key in left.values()})
        self._keys, self._callers = left, {}
        return found

    def _still_meant(self, found: KeysFound) -> dict[str, StoredKey]:
        """Known keys whose line is damaged, and not gone."""
        lines = [line.data for line in found.damaged if not line.data.lstrip().startswith(b"#")]
        return {
            digest: key
            for digest, key in self._keys.items()
            if any(f'"id":"{key.id}"'.encode() in line or digest.encode() in line for line in lines)
        }

    def caller(self, authorization: str | None) -> Caller:
        """Who sends this `authorization` header. Raises `Unauthenticated`."""
        if self._path is None:
            return DEFAULT_CALLER
        if not authorization:
            raise Unauthenticated("no API key: send `authorization: Bearer <key>`", reason="API_KEY_MISSING")
        if authorization[: len(BEARER)].lower() != BEARER.lower():
            raise Unauthenticated("the `authorization` header must read `Bearer <key>`", reason="API_KEY_MALFORMED")
        key = authorization[len(BEARER) :].strip()
        digest = digest_of(key)
        known = self._callers.get(digest)
        if known is not None:
            return known
        if digest not in self._keys:
            self.refresh()  # a key that was just added
        found = self._keys.get(digest)
        if found is None:
            raise Unauthenticated("unknown API key: `longtake keys ls` shows the known ones", reason="API_KEY_UNKNOWN")
        caller = Caller(found.tenant, found.id, found.name, key_hint=f"{key[:6]}…{key[-4:]}")
        self._callers[digest] = caller
        return caller

    @asynccontextmanager
    async def good_for(self, caller: Caller) -> AsyncIterator[None]:
        """The block ends with `Unauthenticated` when the caller's key is removed."""
        if self._path is None:
            yield
            return
        streams = self._streams.setdefault(caller.api_key_id, set())
        ending: asyncio.Timeout | None = None
        try:
            async with asyncio.timeout(None) as ending:
                streams.add(ending)
                if all(key.id != caller.api_key_id for key in self._keys.values()):  # removed while the call waited
                    ending.reschedule(asyncio.get_running_loop().time())
                yield
        except TimeoutError as error:
            if ending is None or not ending.expired():
                raise
            raise Unauthenticated("this API key was removed", reason="API_KEY_REMOVED") from error
        finally:
            if ending is not None:
                streams.discard(ending)
            if not streams and self._streams.get(caller.api_key_id) is streams:
                del self._streams[caller.api_key_id]

    def _end_streams(self, removed: set[str]) -> None:
        for key_id in removed:
            for stream in self._streams.get(key_id, ()):
                stream.reschedule(asyncio.get_running_loop().time())
