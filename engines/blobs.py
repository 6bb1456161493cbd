"""Reads what manifests name by digest, checked as it comes in, and puts the papers of a set there. `store.py` calls it.

Papers are what lies beside engines for those who verify and for those who look: the reference's answers, and the report
of the comparison. No stage reads them.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
from collections.abc import Callable, Mapping
from typing import Final

from engines import objects as layout
from engines.errors import EngineCorrupt, EngineError, EngineNotBuilt
from engines.key import digest_of
from engines.objects import Objects
from engines.weights import CHUNK_BYTES, WeightsFile

ANSWERS: Final = "answers.npz"
"""What torch answers to each case, whole; see `building/verify.py`."""
REPORT: Final = "report.json"
PAGE: Final = "report.html"
"""The report as a page with pictures, which holds all that it shows."""


async def read(
    objects: Objects, sha256: str, size: int, *, absent: EngineError, wrong: Callable[[int], EngineError]
) -> bytes:
    """A blob's bytes. Raises `absent`, or what `wrong` makes of the number of bytes that were read."""
    key = layout.blob_key(sha256)
    digest, taken = hashlib.sha256(), io.BytesIO()
    while taken.tell() <= size:
        # One byte more than there should be: an object that is too large is noticed, and not read.
        length = min(CHUNK_BYTES, size - taken.tell() + 1)
        chunk = await objects.get_range(key, taken.tell(), length)
        if chunk is None:
            raise absent
        if not chunk:
            break
        await asyncio.to_thread(digest.update, chunk)
        taken.write(chunk)
    if taken.tell() != size or digest.hexdigest() != sha256:
        raise wrong(taken.tell())
    return taken.getvalue()


async def read_paper(objects: Objects, file: WeightsFile) -> bytes:
    """A paper's bytes. Raises `EngineNotBuilt` or `EngineCorrupt`."""
    key = layout.blob_key(file.sha256)
    return await read(
        objects,
        file.sha256,
        file.size,
        absent=EngineNotBuilt(f"{key}: it is gone, and the manifest names it: verify or build the engines again"),
        wrong=lambda size: EngineCorrupt(f"{key}: {size} bytes of {file.size}, or another digest: build again"),
    )


def named(papers: Mapping[str, bytes]) -> dict[str, WeightsFile]:
    """How a manifest names them."""
    return {name: WeightsFile(digest_of(data), len(data)) for name, data in papers.items()}


async def keep_papers(objects: Objects, named: Mapping[str, WeightsFile], papers: Mapping[str, bytes]) -> None:
    """Put the papers that a manifest names. Raises `EngineCorrupt` for other bytes; those that are there already need
    not be brought."""
    for name, file in named.items():
        if name not in papers:
            continue
        if digest_of(papers[name]) != file.sha256:
            raise EngineCorrupt(f"{name}: not the bytes that the manifest names: build the engines again")
        await objects.keep(layout.blob_key(file.sha256), papers[name])
