"""The next version, as far as the simulation has it: this one with more fields in all that it stores and sends.

In a world that rolls, processes are replaced one after the other by those of the next version, kind by kind, and
perhaps back again in between (`chaos.py`). `seams.py` and `store.py` put in what those write; `versions.py` has the
rules.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Iterator
from random import Random

from serving.jobs.record import JobRecord

ROLLS = 0.15
"""Share of worlds that roll."""
NEXT = "next_"
"""So do the names of the fields begin that only the next version knows."""
UNKNOWN_ON_THE_WIRE = b"\xc0\x3e\x01"
"""Field 1000 of a message: 1."""
ASKS_MORE = 3
"""Of so many jobs that a front door of the next version takes, one is planned in a way that only that version knows."""
_GROWN = re.compile(r"runtime/(epoch|sweep)\Z|leases/|dead/|t/[^/]+/quarantine/")


class Rolling:
    """When the processes of a world are replaced."""

    def __init__(self, seed: str) -> None:
        self.draw = Random(f"{seed}/versions")
        self.rolls = self.draw.random() < ROLLS
        self.newer: set[str] = set()
        """Kinds of processes that are started in the next version."""
        self.last = ""
        """A kind that stays what it is until the trouble ends."""

    def steps(self, kind: str, troubled_s: float) -> Iterator[tuple[float, str, bool]]:
        """At which second the kind is of the next version from then on (True), or of this one again."""
        if kind == self.last:
            yield troubled_s, kind, True
            return
        there = self.draw.uniform(0.0, 0.6) * troubled_s
        yield there, kind, True
        if self.draw.random() < 0.3:
            yield self.draw.uniform(there, 0.8 * troubled_s), kind, False
            yield 0.9 * troubled_s, kind, True


def grown(key: str, data: bytes) -> bytes:
    """A small record as the next version writes it; all else as it is."""
    return _with(data, next_note="of a later version", next_empty=None) if _GROWN.match(key) else data


def grown_record(data: bytes) -> bytes:
    """A job's record as the next version writes it."""
    record = json.loads(data)
    record.setdefault("next_note", record["id"])
    events = record["events"]
    if not any(event["kind"].startswith(NEXT) for event in events):
        events.insert(1, {**events[0], "kind": f"{NEXT}happened"})
    for event in events:
        event.setdefault("next_seen", event["at_ms"])
    return json.dumps(record).encode()


def grown_manifest(data: bytes) -> bytes:
    """A manifest as the next version writes it: its fields are not in the order that this one would write them in."""
    text, newline, packed = data.partition(b"\n")
    return _with(text, next_note="of a later version", next_empty=[]) + newline + packed


def asked(record: JobRecord) -> JobRecord:
    """A job as a front door of the next version takes it; one that does another again is as that was."""
    if record.requeue_of:
        return record
    request = record.request.model_copy(update={"next_wish": None})
    more = zlib.crc32(record.id.encode()) % ASKS_MORE == 0
    plan = record.plan.model_copy(update={"next_way": "its own" if more else ""})
    return record.model_copy(update={"request": request, "plan": plan})


def _with(data: bytes, **fields: object) -> bytes:
    return json.dumps({**fields, **json.loads(data), **fields}).encode()
