"""The signatures of a set of engines: written with it, and checked before its manifest is read.

`store.py` calls it. A set is loaded when somebody who is trusted here signed exactly these bytes of its manifest. Other
signatures beside that one do no harm, so keys can change one after the other.
"""

from __future__ import annotations

from engines import objects as layout
from engines.errors import EngineCorrupt, EngineUntrusted
from engines.key import digest_of
from engines.objects import Objects
from engines.signing import PublicKey, SigningKey
from engines.trust import TrustedKeys


class Signatures:
    """Of the sets in one object store."""

    def __init__(self, objects: Objects, trusted: TrustedKeys) -> None:
        self._objects = objects
        self.trusted = trusted

    async def add(self, model: str, set_name: str, manifest: bytes, key: SigningKey) -> bool:
        """Sign these bytes; False when this key has signed them already."""
        where = layout.signature_key(model, set_name, manifest, key.public.id)
        return await self._objects.put_if_absent(where, key.sign(manifest))

    async def signer(self, model: str, set_name: str, manifest: bytes) -> PublicKey:
        """Who is trusted here and signed these bytes. Raises `EngineUntrusted`, which says what is wrong with it."""
        folder, digest = layout.set_folder(model, set_name), digest_of(manifest)
        if digest in self.trusted.refused():
            raise EngineUntrusted(
                f"{folder}: {self.trusted.path} refuses these engines, whoever signed them: build others, or "
                f"`longtake engines trust rm {digest[:16]}`"
            )
        keys, wrong = self.trusted.read(), []
        for key in keys:
            where = layout.signature_key(model, set_name, manifest, key.id)
            found = await self._objects.get_range(where, 0, 1024)
            if found is not None and key.signed(manifest, found):
                return key
            if found is not None:
                wrong.append(key.id)
        raise EngineUntrusted(f"{folder}: {await self._reason(model, set_name, manifest, wrong)}")

    async def _reason(self, model: str, set_name: str, manifest: bytes, wrong: list[str]) -> str:
        if wrong:
            return f"the signature of {', '.join(wrong)} is not over this manifest: {_again(model)}"
        prefix = layout.signatures_of(model, set_name)
        found = [key.removeprefix(prefix).partition("-") async for key in self._objects.keys(prefix)]
        signers = sorted({signer for digest, _, signer in found if digest == digest_of(manifest)})
        if signers:
            return (
                f"signed by {', '.join(signers)}, and {self.trusted.path} trusts no such key: have the signer run "
                "`longtake engines trust ls`, and give his line to `longtake engines trust add`"
            )
        if found:
            return (
                f"the manifest is not the one that {', '.join(sorted({signer for _, _, signer in found}))} signed: "
                f"it was changed. {_again(model)}"
            )
        return (
            "the engines are not signed (the version before did not sign). If you built them and nobody else writes to "
            f"this store: `longtake engines sign --adopt --model {model}`. Else {_again(model)}"
        )

    async def check_names(self, model: str, set_name: str) -> None:
        """Raise `EngineCorrupt` when the set's folder holds what no version of Longtake puts there."""
        async for key in self._objects.keys(layout.set_folder(model, set_name)):
            found = layout.read_set_key(key)
            if found is None or not found.known:
                raise EngineCorrupt(f"{key!r}: not in the manifest of its engines: find out whose it is, and remove it")


def _again(model: str) -> str:
    return f"remove them with `longtake engines rm --model {model}`, and build them again"
