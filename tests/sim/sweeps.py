"""How a collector deletes what somebody may write again at this moment: announced, and not what was young before that.

From docs/store.md: it announces a batch, looks again how old its keys are, and deletes those that are still old, while
the announcement stands. The `Ledger` asks at every delete of a collector.
"""

from __future__ import annotations

import json
import re

from serving.store.keys import SWEEP
from tests.sim.published import must
from tests.sim.store import Disk

_WRITTEN_AGAIN = re.compile(r"t/[^/]+/(blobs|segments|pages)/")


class Sweeps:
    """Of one world."""

    def __init__(self, disk: Disk, *, margin_s: float) -> None:
        self._disk = disk
        self._margin_ms = round(margin_s * 1000)

    def deleted(self, key: str) -> None:
        """A collector deletes a key."""
        if not _WRITTEN_AGAIN.match(key):
            return
        announcement = self._disk.objects.get(SWEEP)
        keys = [] if announcement is None else json.loads(announcement.data)["keys"]
        must(key in keys, f"{key}: it was deleted, and nobody has announced that")
        touched_ms, announced_ms = self._disk.modified_ms(key), self._disk.modified_ms(SWEEP)
        young = touched_ms > self._disk.now_ms() - self._margin_ms
        must(
            not young or touched_ms >= announced_ms,
            f"{key}: it was deleted, and it was young already when that was announced",
        )
