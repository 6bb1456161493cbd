"""Who says that engines are what they should be: ed25519 keys, and signatures over a manifest's bytes.

An engine is native code, or input of a parser that is: whoever chooses its bytes runs what he likes where it is loaded.
The manifest holds the digest and size of each file, so a signature over its bytes covers all of them. `store.py` asks
here before it reads a manifest, `trust.py` keeps the keys in files. The one place that imports `cryptography`.
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Self

from engines.errors import EngineUntrusted
from engines.key import digest_of

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

SCHEME: Final = "ed25519"
_PURPOSE: Final = b"longtake engines manifest 1\0"
"""Signed in front of the manifest: no signature that a key made for anything else fits, nor the other way round."""
_PUBLIC_BYTES: Final = 32
_NAME: Final = re.compile(r"[A-Za-z0-9._@ -]{0,80}")
_SHOWN: Final = re.compile(rf"(?P<id>[0-9a-f]{{16}})\s+(?={SCHEME} )")
"""A key's id before its line."""


@dataclass(frozen=True)
class PublicKey:
    """A signer, as others know him: `ed25519 <base64> <name>`, a line of the file of trusted keys."""

    raw: bytes
    name: str = field(default="", compare=False)
    """For people; nothing depends on it."""

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError(f"{self.name!r}: a key's name is at most 80 of A-Z a-z 0-9 . _ @ - and spaces")

    @property
    def id(self) -> str:
        """Short name of the key: where its signatures lie, and what people compare."""
        return digest_of(self.raw)[:16]

    def __str__(self) -> str:
        return f"{SCHEME} {base64.b64encode(self.raw).decode()} {self.name}".rstrip()

    @classmethod
    def parse(cls, text: str) -> Self:
        """The inverse of `str`; its id may stand before it, as `longtake engines trust ls` shows it. Raises
        `ValueError`, also where that is the id of another key."""
        said = _SHOWN.match(text.strip())
        scheme, _, rest = text.strip()[said.end() if said else 0 :].partition(" ")
        encoded, _, name = rest.strip().partition(" ")
        try:
            raw = base64.b64decode(encoded, validate=True)
        except ValueError as error:  # `binascii.Error` is one; letters beyond ASCII raise the plain one
            raise ValueError(f"{text!r}: no base64; a key is `{SCHEME} <base64> <name>`") from error
        if scheme != SCHEME or len(raw) != _PUBLIC_BYTES:
            raise ValueError(f"{text!r} is no public key: `{SCHEME} <base64 of {_PUBLIC_BYTES} bytes> <name>`")
        key = cls(raw, name.strip())
        if said and said["id"] != key.id:
            raise ValueError(f"{text!r}: the id of this key is {key.id}, another stands before it: copy the line anew")
        return key

    def signed(self, manifest: bytes, signature: bytes) -> bool:
        """Whether the signature is this key's, over these bytes."""
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        try:
            Ed25519PublicKey.from_public_bytes(self.raw).verify(signature, _PURPOSE + manifest)
        except InvalidSignature:
            return False
        return True


class SigningKey:
    """The secret half. Whoever has it can make engines that all machines load which trust it."""

    def __init__(self, private: Ed25519PrivateKey, name: str) -> None:
        self._private = private
        self.public = PublicKey(private.public_key().public_bytes_raw(), name)

    @classmethod
    def generate(cls, name: str) -> Self:
        """A new one."""
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        return cls(Ed25519PrivateKey.generate(), name)

    @classmethod
    def from_pem(cls, pem: bytes, name: str, *, where: str) -> Self:
        """An unencrypted PKCS #8 key (also of `openssl genpkey -algorithm ed25519`). Raises `EngineUntrusted`."""
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        try:
            private = load_pem_private_key(pem, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise EngineUntrusted(
                f"{where}: no unencrypted private key in PEM: make one with `longtake engines keygen`"
            ) from error
        if not isinstance(private, Ed25519PrivateKey):
            raise EngineUntrusted(f"{where}: a key, but none of {SCHEME}: make one with `longtake engines keygen`")
        return cls(private, name)

    def to_pem(self) -> bytes:
        """As `from_pem` reads it."""
        from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

        return self._private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    def sign(self, manifest: bytes) -> bytes:
        """64 bytes, the same for the same manifest."""
        return self._private.sign(_PURPOSE + manifest)
