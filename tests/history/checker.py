"""Judges a history of compare-and-swap operations: is it linearizable, key by key? A refusal is told in words.

`search.py` has the search (Wing and Gong 1993, Lowe 2017) and the model of an object; this is what a test calls. What
is told is the shortest prefix of the history that no order explains: linearizability is closed under prefixes, so it
is found by halving.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from tests.history.recorder import Operation
from tests.history.search import Ordering, State, Versions, by_key, order, versions_of

SHOWN = 8
"""How many of the operations before the fault are told."""


@dataclass(frozen=True)
class Refusal:
    """One key's history that is not linearizable. `str()` tells it."""

    key: str
    prefix: tuple[Operation, ...]
    """Shortest prefix that no order explains; operations without an answer in it are unknown."""

    culprit: Operation
    """The operation whose answer ends the prefix: without this answer an order exists."""

    furthest: Ordering
    versions: Versions

    def __str__(self) -> str:
        answered = sum(operation.responded is not None for operation in self.prefix)
        found, shown = len(self.furthest.order), self.furthest.order[-SHOWN:]
        lines = [
            f"{self.key}: the first {answered - 1} answers fit an order, the first {answered} fit none. The last is",
            f"    {self._tell(self.culprit)}",
            f"The longest order has {found} operations{', ending' if len(shown) < found else ''}:",
            *(f"    {self._tell(operation)}" for operation in shown),
            f"Then the object is {_content(self.furthest.state)}. One of these must be next, and none leads on:",
            *(f"    {self._tell(operation)}" for operation in self.furthest.left),
        ]
        return "\n".join(lines)

    @cached_property
    def _stamps(self) -> dict[int, int]:
        """The clock's stamps, numbered: a clock of nanoseconds is no pleasure to read."""
        stamps = {stamp for o in self.prefix for stamp in (o.invoked, o.responded) if stamp is not None}
        return {stamp: number for number, stamp in enumerate(sorted(stamps), start=1)}

    def _tell(self, operation: Operation) -> str:
        stamps = self._stamps
        when = f"{stamps[operation.invoked]}..{'?' if operation.responded is None else stamps[operation.responded]}"
        return f"[{when}] client {operation.client} {self._what(operation)} → {_answer(operation)}"

    def _what(self, operation: Operation) -> str:
        match operation.name:
            case "put_if_absent":
                return f"creates {_content(operation.data)}"
            case "swap":
                expected = self.versions.get(operation.expected or "")
                known = "a version that nobody was told" if expected is None else _content(expected)
                return f"swaps {known} for {_content(operation.data)}"
            case name:
                return f"{name}s"


def check(history: Iterable[Operation]) -> list[Refusal]:
    """The keys whose history is not linearizable; an empty list is a pass."""
    refusals = []
    for key, operations in by_key(history).items():
        versions = versions_of(operations)
        if not order(operations, versions).complete:
            refusals.append(_refusal(key, operations, versions))
    return refusals


def assert_linearizable(history: Iterable[Operation]) -> None:
    """Raises `AssertionError` that tells every refusal."""
    refusals = check(history)
    assert not refusals, "not linearizable\n" + "\n".join(str(refusal) for refusal in refusals)


def _refusal(key: str, operations: Sequence[Operation], versions: Versions) -> Refusal:
    """Halve down to the shortest prefix: what holds for a prefix holds for those within it."""
    ends = sorted((o for o in operations if o.responded is not None), key=lambda o: o.responded or 0)
    good, bad = -1, len(ends) - 1
    while bad - good > 1:
        middle = (good + bad) // 2
        if order(_until(operations, ends[middle]), versions).complete:
            good = middle
        else:
            bad = middle
    prefix = _until(operations, ends[bad])
    return Refusal(key, tuple(prefix), ends[bad], order(prefix, versions), versions)


def _until(operations: Sequence[Operation], last: Operation) -> list[Operation]:
    """The history up to the answer of `last`: what was asked and not answered by then is unknown."""
    end = last.responded or 0
    return [
        o
        if o.responded is not None and o.responded <= end
        else replace(o, outcome="unknown", responded=None, version=None)
        for o in operations
        if o.invoked <= end
    ]


def _content(state: State) -> str:
    return "absent" if state is None else repr(state[:40].decode(errors="replace"))


def _answer(operation: Operation) -> str:
    if operation.responded is None:
        return f"unknown ({operation.error or 'no answer yet'})"
    if operation.outcome == "failed":
        return operation.error or "False"
    return _content(operation.data) if operation.name == "get" else "done"
