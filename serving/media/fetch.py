"""Fetches the media that a request names by URL, under rules that keep a stranger's URL from reaching inside.

`frontdoor/create/intake.py` calls it. A name is resolved once and the connection goes to that very address; only public
addresses are allowed (loopback too where the settings say so, for development); every redirect is checked anew; bytes
and time are bounded; the environment's proxies are ignored.
"""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import httpcore
import httpx

from serving.errors import InvalidArgument
from serving.media import data_url
from serving.media.names import Resolver, UnansweredError
from serving.media.unpacking import Unpacking

MAX_REDIRECTS = 10
_TEXTS = ("text/", "application/json", "application/xml", "application/xhtml", "application/javascript")
"""An error page or a login that came instead. What else a host calls it says nothing: the bytes are looked at."""
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_HEADERS = [
    (b"User-Agent", b"longtake"),
    (b"Accept", b"image/*, video/*, */*;q=0.1"),
    (b"Accept-Encoding", b"identity"),
]
_PACKED = ("gzip", "x-gzip", "deflate")
"""Some hosts pack whatever is asked for."""
_AROUND = "".join(map(chr, range(0x21)))
"""What stands around a URL that was copied or read from a line: blanks and control characters."""

Resolve = Callable[[str, str, int], Awaitable[list[str]]]
"""(tenant, host, port) → its addresses."""
_ResolveHost = Callable[[str, int], Awaitable[list[str]]]


@dataclass(frozen=True)
class FetchPolicy:
    """What may be fetched."""

    allow_loopback: bool = False
    """Addresses of this machine, on any port: for development only."""
    seconds: float = 15.0
    """For one URL, redirects included."""


class Fetcher:
    """One per front-door process; holds no connections between calls."""

    def __init__(self, policy: FetchPolicy, resolve: Resolve | None = None) -> None:
        self._policy = policy
        self._resolve = resolve or Resolver()

    @cached_property
    def _trusted(self) -> ssl.SSLContext:
        """The system's authorities. To read them takes a tenth of a second, so it is done once, and not for http."""
        return ssl.create_default_context()

    async def fetch(self, tenant: str, url: str, *, field: str, max_bytes: int) -> bytes:
        """The bytes behind a `data:`, `http:` or `https:` URL. Raises `InvalidArgument` naming `field`, and
        `ResourceExhausted` where too many of the tenant's hosts are being looked up.
        """
        url = url.strip(_AROUND)
        if data_url.is_data_url(url):
            return data_url.bytes_of(url, field, max_bytes)
        try:
            async with asyncio.timeout(self._policy.seconds):
                return await self._follow(url, field, max_bytes, partial(self._resolve, tenant))
        except TimeoutError as error:
            raise InvalidArgument(field, f"the URL did not answer within {self._policy.seconds:.0f} s") from error

    async def _follow(self, written: str, field: str, max_bytes: int, resolve: _ResolveHost) -> bytes:
        url, backend = self._checked(_parsed(written, field), field), _PinnedBackend(self._policy, resolve)
        for _ in range(MAX_REDIRECTS + 1):
            try:
                answer = await self._get(url, field, max_bytes, backend)
            except _ForbiddenAddressError as error:
                raise InvalidArgument(field, str(error)) from error
            except UnansweredError as error:
                raise InvalidArgument(field, "the name servers of the URL's host do not answer") from error
            except (
                httpcore.NetworkError,
                httpcore.ProtocolError,
                httpcore.TimeoutException,
                httpcore.UnsupportedProtocol,
                OSError,
            ) as error:
                raise InvalidArgument(field, f"the URL could not be fetched ({type(error).__name__})") from error
            if isinstance(answer, bytes):
                return answer
            url = self._checked(_parsed(answer, field, base=url), field)
        raise InvalidArgument(field, f"the URL redirects more than {MAX_REDIRECTS} times")

    def _checked(self, url: httpx.URL, field: str) -> httpx.URL:
        """This URL. Raises `InvalidArgument` for one that is never fetched."""
        # Not `url.host`: it puts what begins with xn-- into other letters, and fails where those are no words to it.
        if url.scheme not in ("http", "https") or not url.raw_host:
            raise InvalidArgument(field, "only http, https and data URLs are fetched; upload the file instead")
        if url.userinfo:
            raise InvalidArgument(field, "a URL with a user name or password in it is not fetched")
        if b"%" in url.raw_host:
            raise InvalidArgument(field, "the URL is malformed: its host has characters that no host has")
        if url.port not in (None, 80, 443) and not self._policy.allow_loopback:
            raise InvalidArgument(field, f"port {url.port} is not fetched from; 80 and 443 are")
        return url

    async def _get(self, url: httpx.URL, field: str, max_bytes: int, backend: _PinnedBackend) -> bytes | str:
        """The body, or where it redirects to."""
        asked = httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)
        trusted = self._trusted if url.scheme == "https" else None
        async with (
            httpcore.AsyncConnectionPool(ssl_context=trusted, network_backend=backend) as pool,
            pool.stream("GET", asked, headers=_HEADERS) as response,
        ):
            headers = {name.lower(): value.decode("latin-1") for name, value in response.headers}
            if response.status in _REDIRECTS and b"location" in headers:
                return headers[b"location"]
            if response.status != 200:
                raise InvalidArgument(field, f"the URL answered with HTTP status {response.status}")
            kind = headers.get(b"content-type", "")
            if kind.strip().lower().startswith(_TEXTS):
                raise InvalidArgument(field, f"the URL answered with {kind[:80]!r}, not with a picture or video")
            declared = headers.get(b"content-length", "0")
            if declared.isascii() and declared.isdigit() and int(declared) > max_bytes:
                raise _too_large(field, max_bytes)
            packed = headers.get(b"content-encoding", "identity").strip().lower()
            if packed not in ("", "identity", *_PACKED):
                raise InvalidArgument(field, f"the URL answered in the encoding {packed[:80]!r}, which is not read")
            return await _bounded(response.aiter_stream(), field, max_bytes, packed=packed in _PACKED)


def _parsed(written: str, field: str, *, base: httpx.URL | None = None) -> httpx.URL:
    """The URL as it will be asked for: its host in ASCII, its path quoted. Raises `InvalidArgument`.

    `base`: what redirects to it.
    """
    try:
        return httpx.URL(written) if base is None else base.join(written)
    except (httpx.InvalidURL, ValueError) as error:  # UnicodeError is one
        raise InvalidArgument(field, f"the URL {'redirects to a malformed one' if base else 'is malformed'}") from error


async def _bounded(pieces: AsyncIterator[bytes], field: str, max_bytes: int, *, packed: bool) -> bytes:
    body, unpacking, came = bytearray(), Unpacking(), 0
    async for piece in pieces:
        came += len(piece)
        try:
            body += unpacking.of(piece, max_bytes + 1 - len(body)) if packed else piece
        except zlib.error as error:
            raise InvalidArgument(field, "the URL answered with gzip that is damaged") from error
        if max(len(body), came) > max_bytes:
            raise _too_large(field, max_bytes)
    if packed and not unpacking.whole:
        raise InvalidArgument(field, "the URL answered with gzip that is cut")
    return bytes(body)


def _too_large(field: str, max_bytes: int) -> InvalidArgument:
    return InvalidArgument(field, f"it is larger than {max_bytes} bytes, the most that is taken")


class _ForbiddenAddressError(Exception):
    """A name that leads where nothing may be fetched from."""


class _PinnedBackend(httpcore.AsyncNetworkBackend):
    """Resolves once, checks the addresses, and connects to a checked one; TLS still names the host."""

    def __init__(self, policy: FetchPolicy, resolve: _ResolveHost) -> None:
        self._policy = policy
        self._resolve = resolve
        self._plain = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109  (the library's interface)
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        addresses = await self._resolve(host, port)
        if not addresses or not all(self._allowed(address) for address in addresses):
            raise _ForbiddenAddressError("the URL's host is not on the public internet; upload the file instead")
        *others, last = addresses
        for address in others:
            # A host with several addresses may be out of reach by one of them, commonly by IPv6.
            with suppress(httpcore.ConnectError, httpcore.ConnectTimeout):
                return await self._plain.connect_tcp(address, port, timeout, local_address, socket_options)
        return await self._plain.connect_tcp(last, port, timeout, local_address, socket_options)

    async def connect_unix_socket(
        self,
        path: str,  # noqa: ARG002
        timeout: float | None = None,  # noqa: ASYNC109, ARG002  (the library's interface)
        socket_options: Iterable[Any] | None = None,  # noqa: ARG002
    ) -> httpcore.AsyncNetworkStream:
        raise _ForbiddenAddressError("no URL leads to a socket file")

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def _allowed(self, address: str) -> bool:
        found = ipaddress.ip_address(address.partition("%")[0])
        if isinstance(found, ipaddress.IPv6Address):
            if found.is_site_local:
                return False
            found = _carried(found) or found
        if found.is_loopback:
            return self._policy.allow_loopback
        return found.is_global and not (found.is_multicast or found.is_reserved)


def _carried(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address that a translator or tunnel would send this one's packets to."""
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    return address.ipv4_mapped or address.sixtofour
