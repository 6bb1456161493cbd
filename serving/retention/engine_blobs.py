"""Which bytes of engines are needed: those that a manifest in the store names; and which files of models that were
added: those that a record names. `sweep.py` asks.

It does not matter who signed a manifest, which version of Longtake wrote it, nor whether its engines were verified yet:
whatever looks like a digest in it counts. Bytes that no manifest names are of a set that was removed, or of a builder
that is at work or was killed.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from typing import Final

from engines import objects as layout
from engines.added import RECORD_BYTES
from serving.errors import NotFound
from serving.retention.context import Collection
from serving.store.base import Listed

PUBLISHED_WITHIN_S: Final = 86_400
"""Between the first byte that a builder puts and its manifest: bytes younger than this are left to him."""
_DIGEST: Final = re.compile(rb"[0-9a-f]{64}")


async def needed_blobs(collection: Collection) -> set[str] | None:
    """Keys of the blobs that manifests name. None where one is too large to be a manifest, which the report names among
    what is not Longtake's: then nothing is known."""
    entries = collection.store.list(layout.ENGINES)
    digests = await _named(collection, entries, _is_manifest, layout.MANIFEST_BYTES)
    return None if digests is None else {layout.blob_key(digest) for digest in digests}


async def needed_files(collection: Collection) -> set[str] | None:
    """Digests that records of models name; those with adapters name the files of their base. None as `needed_blobs`."""
    return await _named(collection, collection.listed(layout.MODELS), _is_record, RECORD_BYTES)


async def _named(
    collection: Collection, entries: AsyncIterator[Listed], wanted: Callable[[str], bool], most: int
) -> set[str] | None:
    """Digests that the wanted ones of these name; None where one has more bytes than such may have."""
    found: set[str] = set()
    async for entry in entries:
        if not wanted(entry.key):
            continue
        if entry.size > most:
            collection.report.stray(entry.key)
            return None
        try:
            data = (await collection.store.get(entry.key)).data
        except NotFound:
            continue
        found.update(digest.decode() for digest in _DIGEST.findall(data))
    return found


async def claims(collection: Collection) -> AsyncIterator[Listed]:
    """What says who builds a set. He writes it again every few seconds: an old one is of a build that has ended,
    however it did."""
    async for entry in collection.store.list(layout.ENGINES):
        part = layout.read_set_key(entry.key)
        if part is not None and part.is_claim:
            yield entry


def _is_manifest(key: str) -> bool:
    part = layout.read_set_key(key)
    return part is not None and part.is_manifest


def _is_record(key: str) -> bool:
    return key.endswith("/record.json")
