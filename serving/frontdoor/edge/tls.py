"""The certificate that the gRPC port shows: read again for a new connection when its files changed. `server.py` asks.

A certificate that is renewed in place, by an ACME client or by Kubernetes, needs no restart.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import cast

import grpc

from serving.errors import SettingsError
from serving.logs import logger

_Stamp = tuple[tuple[int, int, int], ...]


class Certificate:
    """Two files, PEM."""

    def __init__(self, certificate: Path, key: Path) -> None:
        """Raises `SettingsError` for files that cannot be read."""
        self._certificate = certificate
        self._key = key
        self._log = logger("tls")
        try:
            self._stamp = self._stamped()
            self._pair = self._read()
        except OSError as error:
            raise SettingsError(f"settings `grpc.tls_cert` and `grpc.tls_key`: {error}") from error

    def credentials(self) -> grpc.ServerCredentials:
        """For a port."""
        renewed = cast("Callable[[], grpc.ServerCertificateConfiguration]", self._renewed)  # None: the same as before
        return grpc.dynamic_ssl_server_credentials(_configuration(self._pair), renewed)

    def _renewed(self) -> grpc.ServerCertificateConfiguration | None:
        """What gRPC asks before each handshake; None: nothing is new. A pair that does not fit it passes over."""
        try:
            stamp = self._stamped()
            if stamp == self._stamp:
                return None
            pair = self._read()
            if self._stamped() != stamp:  # one of the two is being written: at the next connection
                return None
        except OSError as error:
            self._log.error("the renewed certificate cannot be read: the old one is shown", details=str(error))
            return None
        self._stamp = stamp
        if pair == self._pair:
            return None
        self._pair = pair
        self._log.info("the certificate was renewed", file=str(self._certificate))
        return _configuration(pair)

    def _stamped(self) -> _Stamp:
        found = (path.stat() for path in (self._certificate, self._key))
        return tuple((status.st_mtime_ns, status.st_size, status.st_ino) for status in found)

    def _read(self) -> tuple[bytes, bytes]:
        return self._key.read_bytes(), self._certificate.read_bytes()


def _configuration(pair: tuple[bytes, bytes]) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration([pair])
