"""The checker is checked: small histories by hand, generated ones, and every order tried out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import chain, combinations, permutations

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from tests.history.checker import check
from tests.history.recorder import Operation, Outcome

KEY = "jobs/1"


def made(data: str, start: int, end: int | None) -> Operation:
    """A create that was answered with yes; where it has no end, the answer was lost."""
    return Operation(1, KEY, "put_if_absent", _known(end), start, end, data.encode())


def unmade(data: str, start: int, end: int) -> Operation:
    """A create that found an object there."""
    return Operation(2, KEY, "put_if_absent", "failed", start, end, data.encode())


def read(data: str, start: int, end: int) -> Operation:
    return Operation(3, KEY, "get", "ok", start, end, data.encode(), version=f"v{data}")


def missed(start: int, end: int) -> Operation:
    """A read that found nothing."""
    return Operation(3, KEY, "get", "failed", start, end, error="NotFound")


def swapped(old: str, new: str, start: int, end: int | None) -> Operation:
    version = None if end is None else f"v{new}"
    return Operation(4, KEY, "swap", _known(end), start, end, new.encode(), f"v{old}", version)


def refused(old: str, new: str, start: int, end: int, error: str = "Conflict") -> Operation:
    return Operation(5, KEY, "swap", "failed", start, end, new.encode(), f"v{old}", error=error)


def deleted(start: int, end: int | None) -> Operation:
    return Operation(6, KEY, "delete", _known(end), start, end)


def _known(end: int | None) -> Outcome:
    return "unknown" if end is None else "ok"


A = [made("a", 1, 2), read("a", 3, 4)]
"""How most of these histories begin."""

GOOD = {
    "nothing happened": [],
    "a key that nobody made": [missed(1, 2), deleted(3, 4), refused("x", "y", 5, 6, "NotFound")],
    "one after the other": [*A, swapped("a", "b", 5, 6), read("b", 7, 8), swapped("b", "c", 9, 10), read("c", 11, 12)],
    "of two creates at once the second one won": [unmade("b", 1, 5), made("a", 2, 6), read("a", 7, 8)],
    "reads beside a swap see old and new": [*A, swapped("a", "b", 5, 20), read("a", 6, 7), read("b", 8, 9)],
    "a loser is told before the winner": [*A, swapped("a", "b", 5, 20), refused("a", "c", 6, 7), read("b", 21, 22)],
    "a lost swap happened": [*A, swapped("a", "b", 5, None), read("b", 7, 8)],
    "a lost swap never happened": [*A, swapped("a", "b", 5, None), read("a", 7, 8), swapped("a", "c", 9, 10)],
    "a lost swap happened late": [*A, swapped("a", "b", 5, None), read("a", 7, 8), refused("a", "c", 9, 10)],
    "a lost create happened after a miss": [made("a", 1, None), missed(3, 4), unmade("b", 5, 6), read("a", 7, 8)],
    "two lost swaps in a row happened": [
        *A,
        swapped("a", "b", 5, None),
        read("b", 6, 8),
        swapped("b", "c", 7, None),
        read("c", 9, 10),
    ],
    "a lost delete happened late": [*A, deleted(5, None), read("a", 6, 7), missed(8, 9)],
    "a missing object is a conflict too": [*A, deleted(5, 6), refused("a", "b", 7, 8)],
    "equal stamps are at once": [*A, swapped("a", "b", 5, 6), read("a", 6, 7)],
    "a lost swap is at once with an equal stamp": [*A, swapped("a", "b", 6, None), read("b", 5, 6)],
}

BAD = {
    "a read of what nobody wrote": [*A, read("z", 5, 6)],
    "a stale read": [*A, swapped("a", "b", 5, 6), read("a", 7, 8)],
    "two reads turn time back": [*A, swapped("a", "b", 5, 20), read("b", 6, 7), read("a", 8, 9)],
    "two creates won": [made("a", 1, 5), made("b", 2, 6)],
    "two swaps of one version won": [*A, swapped("a", "b", 5, 9), swapped("a", "c", 6, 10)],
    "a swap of an old version won": [*A, swapped("a", "b", 5, 6), read("b", 7, 8), swapped("a", "c", 9, 10)],
    "an acknowledged swap is gone": [*A, swapped("a", "b", 5, 6), refused("b", "c", 7, 8)],
    "an acknowledged create is gone": [made("a", 1, 2), missed(3, 4)],
    "a refused swap was written": [*A, refused("a", "b", 5, 6), read("b", 7, 8)],
    "a refused create was written": [*A, unmade("b", 5, 6), read("b", 7, 8)],
    "a create was refused and nothing there": [unmade("a", 1, 2), missed(3, 4)],
    "a conflict with nobody": [*A, refused("a", "b", 5, 6), swapped("a", "c", 7, 8)],
    "an object that is there was not found": [*A, refused("x", "b", 5, 6, "NotFound")],
    "a swap of a version that nobody was told": [*A, swapped("z", "b", 5, 6)],
    "a lost swap happened twice": [*A, swapped("a", "b", 5, None), read("b", 6, 7), read("a", 8, 9), read("b", 10, 11)],
    "a lost swap happened before it was asked for": [*A, refused("a", "b", 5, 6), swapped("a", "c", 7, None)],
    "a deleted object is read": [*A, deleted(5, 6), read("a", 7, 8)],
    "one version for two contents": [*A, swapped("a", "b", 5, 6), replace(read("b", 7, 8), version="va")],
}


@pytest.mark.parametrize("history", GOOD.values(), ids=GOOD)
def test_it_accepts(history: list[Operation]) -> None:
    assert check(history) == []


@pytest.mark.parametrize("history", BAD.values(), ids=BAD)
def test_it_refuses(history: list[Operation]) -> None:
    assert [refusal.key for refusal in check(history)] == [KEY]


def test_a_refusal_tells_key_operations_and_the_shortest_prefix() -> None:
    history = [*A, swapped("a", "b", 5, 8), swapped("a", "c", 6, 7), read("c", 9, 10), read("c", 11, 12)]
    other = [replace(operation, key="jobs/2") for operation in A]
    (refusal,) = check([*history, *other])
    assert str(refusal).splitlines() == [
        "jobs/1: the first 3 answers fit an order, the first 4 fit none. The last is",
        "    [5..8] client 4 swaps 'a' for 'b' → done",
        "The longest order has 3 operations:",
        "    [1..2] client 1 creates 'a' → done",
        "    [3..4] client 3 gets → 'a'",
        "    [6..7] client 4 swaps 'a' for 'c' → done",
        "Then the object is 'c'. One of these must be next, and none leads on:",
        "    [5..8] client 4 swaps 'a' for 'b' → done",
    ]


def test_equal_contents_are_no_history() -> None:
    with pytest.raises(ValueError, match="same content"):
        check([made("a", 1, 2), unmade("a", 3, 4)])


@st.composite
def executions(draw: st.DrawFn, most: int, stretch: int) -> list[Operation]:
    """What an honest object answers: operations one after the other, each then stretched to both sides at random.

    Some answers are lost; and some operations are lost that never happened.
    """
    history: list[Operation] = []
    state: str | None = None
    told = ["x"]
    for number in range(most):
        start, end = (10 * (number + 1) + draw(st.integers(0, stretch)) * sign for sign in (-1, 1))
        new, old = f"{number}", told[-draw(st.integers(1, min(2, len(told))))]
        lost = draw(st.integers(0, 4)) == 0
        match draw(st.sampled_from(["get", "get", "get", "put_if_absent", "swap", "swap", "delete", "never"])):
            case "get" if state is None:
                history.append(missed(start, end))
            case "get":
                history.append(read(state or "", start, end))
                told.append(state or "")
            case "put_if_absent" if state is None:
                history.append(made(new, start, None if lost else end))
                state = new
            case "put_if_absent":
                history.append(unmade(new, start, end))
            case "swap" if state == old:
                history.append(swapped(old, new, start, None if lost else end))
                told += [] if lost else [new]
                state = new
            case "swap":
                history.append(refused(old, new, start, end, "NotFound" if state is None else "Conflict"))
            case "delete":
                history.append(deleted(start, None if lost else end))
                state = None
            case _:
                history.append(swapped(old, new, start, None))
    return history


@given(executions(most=50, stretch=40))
def test_what_an_honest_object_answers_is_accepted(history: list[Operation]) -> None:
    assert check(history) == []


@given(executions(most=6, stretch=15), st.data())
def test_it_agrees_with_trying_out_every_order(history: list[Operation], data: st.DataObject) -> None:
    """Honest histories with some operations moved in time, so that many of them are wrong."""
    for index in data.draw(st.lists(st.integers(0, len(history) - 1), min_size=1, max_size=4)):
        moved, by = history[index], data.draw(st.integers(-60, 60))
        end = None if moved.responded is None else moved.responded + by
        history[index] = replace(moved, invoked=moved.invoked + by, responded=end)
    want = _some_order_fits(history)
    event("linearizable" if want else "not linearizable")
    assert (check(history) == []) is want


def _some_order_fits(history: Sequence[Operation]) -> bool:
    answered = [o for o in history if o.responded is not None]
    unknown = [o for o in history if o.responded is None]
    happened = chain.from_iterable(combinations(unknown, count) for count in range(len(unknown) + 1))
    return any(_fits(order) for some in happened for order in permutations([*answered, *some]))


def _fits(order: Sequence[Operation]) -> bool:
    """The order keeps to the stamps, and an object that does one operation after the other gives these answers."""
    latest, thing = -1000, _Object()
    for operation in order:
        answers = thing.do(operation)
        if operation.responded is not None:
            read = f"ok {operation.data!r}" if operation.name == "get" and operation.data else operation.outcome
            if operation.responded < latest or (operation.error or read) not in answers:
                return False
        latest = max(latest, operation.invoked)
    return True


class _Object:
    """Says how an honest object may answer. Written apart from the checker's own model, so that either shows a slip."""

    def __init__(self) -> None:
        self._data: bytes | None = None

    def do(self, operation: Operation) -> tuple[str, ...]:
        match operation.name:
            case "get":
                return ("NotFound",) if self._data is None else (f"ok {self._data!r}",)
            case "put_if_absent":
                return ("failed",) if self._data is not None else self._becomes(operation.data)
            case "swap" if self._data is None:
                return ("NotFound", "Conflict")
            case "swap":
                return self._becomes(operation.data) if operation.expected == self._version() else ("Conflict",)
            case "delete":
                return self._becomes(None)

    def _version(self) -> str:
        return "" if self._data is None else f"v{self._data.decode()}"

    def _becomes(self, data: bytes | None) -> tuple[str, ...]:
        self._data = data
        return ("ok",)
