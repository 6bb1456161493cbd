"""The rules of two versions at once: this one keeps what the next one writes, and leaves to it what it cannot do.

The `Ledger` tells of every write. `next_version.py` has what the next version writes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from tests.sim.next_version import NEXT
from tests.sim.process import Process
from tests.sim.published import must

_RECORD = re.compile(r"t/([^/]+)/jobs/")
_CONTENT = re.compile(r"t/([^/]+)/(blobs|segments|pages)/")


class Versions:
    """What holds when two versions share a store. The `Ledger` tells of every write before it takes effect."""

    def __init__(self) -> None:
        self._foreign: dict[str, dict[str, float]] = {}
        """By tenant: the records in which the next version has written, and since when."""

    def wrote(self, by: Process, key: str, before: bytes | None, after: bytes | None) -> None:
        """A write is about to take effect."""
        now = by.loop.now
        record = _RECORD.match(key)
        if record is not None:
            told = self._foreign.setdefault(record[1], {})
            if after is None:
                told.pop(key, None)
            elif NEXT.encode() in after:
                told.setdefault(key, now)
                self._record(by, key, before, json.loads(after))
            else:
                must(before is None or NEXT.encode() not in before, f"{key}: {by} drops all of the next version")
        elif key.startswith("leases/") and before is not None and after is not None and NEXT.encode() in before:
            was, lease = json.loads(before), json.loads(after)
            lost = list(_dropped(was, lease)) if was["term"] == lease["term"] else []
            must(not lost, f"{key}: {by} drops {lost} of the next version")
        elif after is None and not by.newer:
            self._deleted(by, key)

    def _record(self, by: Process, key: str, before: bytes | None, record: dict[str, Any]) -> None:
        was = json.loads(before) if before is not None else {}
        lost = list(_dropped(was, record))
        must(not lost, f"{key}: {by} drops {lost} of the next version")
        more = any(name.startswith(NEXT) and value for name, value in record["plan"].items())
        works = by.name.startswith("director") and not by.newer and record["state"] == "running"
        must(not (more and works), f"{key}: {by} runs it, and its plan is of the next version")

    def _deleted(self, by: Process, key: str) -> None:
        """A collector of this version cannot know what the next one's fields name."""
        content = _CONTENT.match(key)
        if content is None:
            return
        there = [name for name, since in self._foreign.get(content[1], {}).items() if since < by.began]
        must(not there, f"{key}: {by} deleted it, and {there[:1]} may need it in a way that it does not know")


def _dropped(was: dict[str, Any], now: dict[str, Any], path: str = "") -> Iterator[str]:
    """What the next version wrote and is there no more, or is another."""
    for name, value in was.items():
        if name.startswith(NEXT):
            if value and now.get(name) != value:
                yield path + name
        elif isinstance(value, dict) and isinstance(now.get(name), dict):
            yield from _dropped(value, now[name], f"{path}{name}.")
        elif name == "events":
            kept = {_event(event): event for event in now[name]}
            for event in value:  # the middle of a long life is left out
                if event["kind"].startswith(NEXT) and _event(event) not in kept:
                    yield f"{path}{name}.{event['kind']}"
                yield from _dropped(event, kept.get(_event(event), event), f"{path}{name}.")


def _event(event: dict[str, Any]) -> tuple[Any, ...]:
    return event["kind"], event["at_ms"], event.get("attempt"), event.get("text"), event.get("step")
