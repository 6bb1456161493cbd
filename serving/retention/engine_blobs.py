"""Which bytes of engines are needed: those that a manifest in the store names; and which files of models that were
added: those that a record names. `sweep.py` asks.

It does not matter who signed a manifest, which version of Longtake wrote it, nor whether its engines were verified yet:
whatever looks like a digest in it counts. Bytes that no manifest names are of a set that was removed, or of a builder
that is at work or was killed.
"""

from __future__ import annotations

import re
from typing import Final

from engines import objects as layout
from engines.added import RECORD_BYTES
from serving.errors import NotFound
from serving.retention.context import Collection

PUBLISHED_WITHIN_S: Final = 86_400
"""Between the first byte that a builder puts and its manifest: bytes younger than this are left to him."""
_DIGEST: Final = re.compile(rb"[0-9a-f]{64}")


async def needed_blobs(collection: Collection) -> set[str] | None:
    """Keys of the blobs that manifests name. None where one is too large to be a manifest, which the report names among
    what is not Longtake's: then nothing is known."""
    found: set[str] = set()
    async for entry in collection.store.list(layout.ENGINES):
        part = layout.read_set_key(entry.key)
        if part is None or not part.is_manifest:
            continue
        if entry.size > layout.MANIFEST_BYTES:
            collection.report.stray(entry.key)
            return None
        try:
            data = (await collection.store.get(entry.key)).data
        except NotFound:
            continue
        found.update(layout.blob_key(digest.decode()) for digest in _DIGEST.findall(data))
    return found


async def needed_files(collection: Collection) -> set[str] | None:
    """Digests that records of models name; those with adapters name the files of their base. None as `needed_blobs`."""
    found: set[str] = set()
    async for entry in collection.listed(layout.MODELS):
        if not entry.key.endswith("/record.json"):
            continue
        if entry.size > RECORD_BYTES:
            collection.report.stray(entry.key)
            return None
        try:
            data = (await collection.store.get(entry.key)).data
        except NotFound:
            continue
        found.update(digest.decode() for digest in _DIGEST.findall(data))
    return found
