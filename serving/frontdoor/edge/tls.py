"""The certificate that the gRPC port shows: read again for a new connection when its files changed. `server.py` asks.

A certificate that is renewed in place, by an ACME client or by Kubernetes, needs no restart. A pair that does not fit,
which is how it looks while one of the two files is old, is never shown: the one before it is.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path
from typing import cast

import grpc

from serving.errors import SettingsError
from serving.logs import logger

_Stamp = tuple[tuple[int, int, int] | None, ...]
_Pair = tuple[bytes, bytes]
_ANY_STRENGTH = "DEFAULT:@SECLEVEL=0"
"""Whether they fit is asked here, and nothing else."""
_UNLIKE = ("KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH", "NO_CERTIFICATE_ASSIGNED")
"""What OpenSSL calls a key of another certificate, the last one where their kinds differ."""


class Certificate:
    """Two files, PEM."""

    def __init__(self, certificate: Path, key: Path) -> None:
        """Raises `SettingsError` for files that cannot be read, or do not fit together."""
        self._certificate = certificate
        self._key = key
        self._log = logger("tls")
        self._seen = self._stamped()
        try:
            self._pair = self._read()
        except OSError as error:
            raise SettingsError(f"settings `grpc.tls_cert` and `grpc.tls_key`: {_why(error)}") from error

    def credentials(self) -> grpc.ServerCredentials:
        """For a port."""
        renewed = cast("Callable[[], grpc.ServerCertificateConfiguration]", self._renewed)  # None: the same as before
        return grpc.dynamic_ssl_server_credentials(_configuration(self._pair), renewed)

    def _renewed(self) -> grpc.ServerCertificateConfiguration | None:
        """What gRPC asks before each handshake; None: nothing is new. What the files hold is looked at once."""
        stamp = self._stamped()
        if stamp == self._seen:
            return None
        pair, wrong = self._pair, None
        try:
            pair = self._read()
        except OSError as error:
            wrong = error
        if self._stamped() != stamp:  # one of the two is being written: at the next connection
            return None
        self._seen = stamp
        if wrong is not None:
            file, details = str(self._certificate), _why(wrong)
            self._log.warning("the renewed certificate is of no use: the old one is shown", file=file, details=details)
            return None
        if pair == self._pair:
            return None
        self._pair = pair
        self._log.info("the certificate was renewed", file=str(self._certificate))
        return _configuration(pair)

    def _stamped(self) -> _Stamp:
        """Other than before whenever a file is; None for one that is not there."""
        return tuple(_stamp_of(path) for path in (self._certificate, self._key))

    def _read(self) -> _Pair:
        """Key and certificate. Raises `OSError`, which `ssl.SSLError` is: they cannot be read, or do not fit."""
        pair = self._key.read_bytes(), self._certificate.read_bytes()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.set_ciphers(_ANY_STRENGTH)
        # Without a password OpenSSL would ask the terminal for that of an encrypted key, and wait.
        context.load_cert_chain(self._certificate, self._key, password="")
        return pair


def _stamp_of(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


def _why(error: OSError) -> str:
    """In words, for whoever wrote the files."""
    if not isinstance(error, ssl.SSLError):
        return str(error)
    if not error.reason:
        return "one of them is no PEM, or the key has a password, which it may not"
    if error.reason in _UNLIKE:
        return "the key is not that of the certificate"
    return f"one of them cannot be used ({error.reason.lower().replace('_', ' ')})"


def _configuration(pair: _Pair) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration([pair])
