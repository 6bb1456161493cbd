"""URLs that need no credentials: made, sealed and checked here, so that nothing else knows how one is built.

    /v/<video>.mp4          a video's whole file, by range
    /i/<video>/<n>.png      one image of an image job
    /t/<video>.png          a thumbnail
    /f/<file>/<filename>    a file's public URL, until it is revoked

The first three carry `exp` (seconds since 1970), `t` (the tenant, sealed), `kid` and `sig`; a public file URL carries
`t` and the token that the file's record holds. The surfaces make URLs, `create/intake.py` recognises our own where a
client hands one in, `routes.py` serves them. The key is one of the store (`runtime/url-key`), so every front door
checks what another made.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal
from urllib.parse import parse_qs, quote, urlencode, urlsplit

from serving.errors import PermissionDenied
from serving.runtime_keys import shared_secret
from serving.store.base import Store
from serving.store.keys import URL_KEY

Route = Literal["video", "image", "thumbnail", "file"]

_PATHS: tuple[tuple[Route, re.Pattern[str]], ...] = (
    ("video", re.compile(r"/v/(?P<id>[a-z0-9_]{1,64})\.mp4\Z")),
    ("image", re.compile(r"/i/(?P<id>[a-z0-9_]{1,64})/(?P<number>[0-9]{1,2})\.png\Z")),
    ("thumbnail", re.compile(r"/t/(?P<id>[a-z0-9_]{1,64})\.png\Z")),
    ("file", re.compile(r"/f/(?P<id>[a-z0-9_]{1,64})/[^/]*\Z")),
)
_EXPIRY = re.compile(r"[1-9][0-9]{0,11}", re.ASCII)
"""As it is written: of one URL there is one spelling."""
_EXPIRY_GRAIN_S = 60
"""Expiries are whole minutes, so that a URL (and a cached answer that holds it) stays the same for a minute."""
_SIV_BYTES = 12
_SIGNATURE_BYTES = 24
_TENANT_BLOCK = 16


@dataclass(frozen=True)
class SignedUrl:
    """A URL, and when it stops working (milliseconds since 1970)."""

    url: str
    expires_ms: int


@dataclass(frozen=True)
class Target:
    """What a URL of ours stands for."""

    route: Route
    tenant: str
    id: str
    """A video's id, or a file's."""
    number: int = 0
    """Which image, from 0."""
    expires_ms: int | None = None
    """None: a public file URL, whose token decides."""
    token: str = ""
    """Of a public file URL: to be compared with the file's record."""


class UrlSigner:
    """Makes and checks URLs for one installation."""

    def __init__(self, secret: str, *, public_url: str, ttl_s: int) -> None:
        """`secret`: of the store. `public_url`: what clients can reach. `ttl_s`: seconds that a URL works."""
        self._public_url = public_url.rstrip("/")
        self._prefix = urlsplit(self._public_url).path
        self._ttl_s = ttl_s
        root = secret.encode()
        self._url_key = _derive(root, "urls")
        self._tenant_key = _derive(root, "tenants")
        self.box_key = _derive(root, "boxes")
        """Signs the `uuid` box that marks our own files."""
        self.kid = hashlib.sha256(self._url_key).hexdigest()[:8]

    @classmethod
    async def open(cls, store: Store, *, public_url: str, ttl_s: int) -> UrlSigner:
        """With the installation's key, which is made now if nobody has."""
        return cls(await shared_secret(store, URL_KEY), public_url=public_url, ttl_s=ttl_s)

    def video_url(self, tenant: str, video: str, now_ms: int) -> SignedUrl:
        """The whole file of a finished video."""
        return self._signed(f"/v/{video}.mp4", tenant, video, now_ms)

    def image_url(self, tenant: str, video: str, number: int, now_ms: int) -> SignedUrl:
        """Image `number` (from 0) of an image job."""
        return self._signed(f"/i/{video}/{number}.png", tenant, video, now_ms)

    def thumbnail_url(self, tenant: str, video: str, now_ms: int) -> SignedUrl:
        """A small picture of the newest segment's last frame."""
        return self._signed(f"/t/{video}.png", tenant, video, now_ms)

    def file_url(self, tenant: str, file: str, filename: str, token: str) -> str:
        """A file's public URL. It works as long as the file's record holds `token`."""
        query = urlencode({"t": self._seal(tenant, file), "token": token})
        # The name is for people who look at the URL; a slash in it would be read as another path, even when quoted.
        return f"{self._public_url}/f/{file}/{quote(filename.replace('/', '_'), safe='')}?{query}"

    def check(self, path: str, query: Mapping[str, str], now_ms: int) -> Target:
        """What a requested URL stands for. Raises `PermissionDenied` when it is forged, changed or expired."""
        target = self._target(path.removeprefix(self._prefix), query, whole=True)
        if target is None:
            raise PermissionDenied("this URL was not made by this server, or was changed: ask for a new one")
        if target.expires_ms is not None and target.expires_ms <= now_ms:
            raise PermissionDenied("this URL has expired: ask for the video again to get a new one", reason="EXPIRED")
        return target

    def recognise(self, url: str) -> Target | None:
        """What a URL stands for if this installation made it (expired or not), whatever its host; else None."""
        try:
            parts = urlsplit(url)
        except ValueError:
            return None
        if parts.scheme not in ("http", "https"):
            return None
        return self._target(parts.path, {name: values[0] for name, values in parse_qs(parts.query).items()})

    def _signed(self, path: str, tenant: str, video: str, now_ms: int) -> SignedUrl:
        expires_s = -(-(now_ms // 1000 + self._ttl_s) // _EXPIRY_GRAIN_S) * _EXPIRY_GRAIN_S
        sealed = self._seal(tenant, video)
        signature = self._signature(path, expires_s, sealed)
        query = urlencode({"exp": expires_s, "t": sealed, "kid": self.kid, "sig": signature})
        return SignedUrl(f"{self._public_url}{path}?{query}", expires_s * 1000)

    def _target(self, path: str, query: Mapping[str, str], *, whole: bool = False) -> Target | None:
        """`whole`: nothing may stand before it, as in a path that is served here."""
        found_in = re.Pattern.match if whole else re.Pattern.search
        matches = ((route, found_in(pattern, path)) for route, pattern in _PATHS)
        route, found = next(((route, match) for route, match in matches if match), (None, None))
        if route is None or found is None:
            return None
        sealed = query.get("t", "")
        tenant = self._unseal(sealed, found["id"])
        if tenant is None:
            return None
        if route == "file":
            return Target(route, tenant, found["id"], token=query.get("token", ""))
        expires = query.get("exp", "")
        if query.get("kid") != self.kid or not _EXPIRY.fullmatch(expires):
            return None
        # The path is signed from its last known part on: `public_url` may put a prefix before it.
        wanted = self._signature(found[0], int(expires), sealed)
        if not hmac.compare_digest(wanted.encode(), query.get("sig", "").encode()):
            return None
        number = int(found["number"]) if route == "image" else 0
        return Target(route, tenant, found["id"], number, expires_ms=int(expires) * 1000)

    def _signature(self, path: str, expires_s: int, sealed: str) -> str:
        message = f"{path}\n{expires_s}\n{sealed}".encode()
        return _text(hmac.digest(self._url_key, message, "sha256")[:_SIGNATURE_BYTES])

    def _seal(self, tenant: str, about: str) -> str:
        """The tenant, unreadable and unforgeable to others, different for every id (a synthetic-IV seal)."""
        plain = tenant.encode()
        plain += b"\0" * (-len(plain) % _TENANT_BLOCK)
        siv = self._siv(plain, about)
        return _text(siv + self._stream(siv, plain))

    def _unseal(self, sealed: str, about: str) -> str | None:
        try:
            raw = base64.urlsafe_b64decode(sealed + "=" * (-len(sealed) % 4))
        except (binascii.Error, ValueError):
            return None
        siv, hidden = raw[:_SIV_BYTES], raw[_SIV_BYTES:]
        if not hidden or len(hidden) > 8 * _TENANT_BLOCK:
            return None
        plain = self._stream(siv, hidden)
        if not hmac.compare_digest(siv, self._siv(plain, about)):
            return None
        return plain.rstrip(b"\0").decode()

    def _siv(self, plain: bytes, about: str) -> bytes:
        return hmac.digest(self._tenant_key, b"siv\n" + about.encode() + b"\n" + plain, "sha256")[:_SIV_BYTES]

    def _stream(self, siv: bytes, data: bytes) -> bytes:
        """`data` xor a key stream that `siv` names: its own inverse."""
        stream = b""
        while len(stream) < len(data):
            block = len(stream).to_bytes(4, "big")
            stream += hmac.digest(self._tenant_key, b"stream\n" + siv + block, "sha256")
        return bytes(a ^ b for a, b in zip(data, stream, strict=False))


def _derive(root: bytes, purpose: str) -> bytes:
    """A key of its own for each purpose, so that one's output never serves as another's."""
    return hmac.digest(root, f"longtake {purpose}".encode(), "sha256")


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
