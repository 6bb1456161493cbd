"""What a campaign of kills takes for progress."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest

from loadtests.kills.campaign import Campaign
from loadtests.kills.parts import Part
from serving.local.embedded import Embedded
from serving.retention.report import Report
from serving.store import keys
from serving.store.base import Listed
from serving.store.open import open_store

NOBODY = cast(Embedded, None)
"""Nothing is struck here."""


@pytest.mark.anyio
@pytest.mark.parametrize("kind", ["segments", "checkpoints", "blobs"])
async def test_a_collection_is_no_progress_and_takes_none_away(tmp_path: Path, kind: str) -> None:
    store = await open_store(str(tmp_path / "store"), probe=False)
    for digest in ("a", "b"):
        await store.put_if_absent(keys.segment("studio", digest * 64), b"a manifest")
    campaign = Campaign(NOBODY, store, {"studio": "a key"}, part := Part(seed=1))
    report = Report(snapshot_ms=0, dry_run=False)
    report.of(kind).collected.add(Listed(f"t/studio/{kind}/x", 10))
    if kind == "segments":
        await store.delete(keys.segment("studio", "a" * 64))

    campaign.count(report)

    assert await campaign.committed() == 2
    assert (part.collections, part.collected) == (1, 1)
    await store.close()
