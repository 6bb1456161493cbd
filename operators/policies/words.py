"""What another program said last, cut to fit a condition's message. `state.py` and `build_state.py` tell it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

MOST_TEXT = 500
"""Characters of another program's message."""
_KILLED = 128
"""Beyond it an exit code tells the signal."""


def short(text: object) -> str:
    """Its beginning."""
    return str(text or "")[:MOST_TEXT]


def last_line(text: object) -> str:
    """Of a traceback, the exception; of a log, what ended it."""
    lines = str(text or "").strip().splitlines()
    return short(lines[-1].strip()) if lines else ""


def last_words(terminated: Mapping[str, Any]) -> str:
    """Of a container that ended, by its state, and what ended it where it did not end by itself. Its last lines are in
    the state where its `terminationMessagePolicy` puts them there."""
    last = last_line(terminated.get("message"))
    if terminated.get("reason") == "OOMKilled":
        return f"OOMKilled: raise resources.limits.memory; it was at: {last}"
    if int(terminated.get("exitCode") or 0) > _KILLED:
        return f"killed by signal {int(terminated['exitCode']) - _KILLED}; it was at: {last}"
    return last
