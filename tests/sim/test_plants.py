"""Every planted bug is in the code that runs: what it replaces is there, and worlds come by."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from functools import partial, wraps
from typing import Any, TypeVar, cast
from unittest import mock

import pytest

from tests.sim.plants import BUGS
from tests.sim.plants.plant import put
from tests.sim.play import play
from tests.sim.seams import prepared

T = TypeVar("T")
MOST_WORLDS = 300
"""In which all of them are come by; a few dozen are enough for most."""
Spot = tuple[object, str]
"""What is replaced: where, and its name."""


class _Spots(ExitStack):
    """Notes what a plant would replace, and replaces nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[Spot] = []

    def enter_context(self, cm: AbstractContextManager[T, bool | None]) -> T:
        patch = cast("mock._patch[T]", cm)
        self.found.append((patch.getter(), patch.attribute))
        return patch.new


def _replaced_by(bug: str) -> list[Spot]:
    spots = _Spots()
    BUGS[bug](spots)
    return spots.found


def test_a_bug_is_planted_only_where_there_is_something() -> None:
    with ExitStack() as stack, pytest.raises(AttributeError, match="no_longer_there"):
        put(stack, _Spots, "no_longer_there", None)


@pytest.mark.parametrize("bug", BUGS)
def test_what_a_bug_replaces_is_there(bug: str) -> None:
    spots = _replaced_by(bug)

    assert spots
    assert [name for where, name in spots if not hasattr(where, name)] == []


def test_worlds_come_by_whatever_is_replaced() -> None:
    unmet: set[tuple[str, str]] = set()
    with ExitStack() as stack, prepared():
        for where, name in {spot: None for bug in BUGS for spot in _replaced_by(bug)}:
            original = inspect.getattr_static(where, name)
            if not isinstance(original, (int, float)):
                unmet.add((str(where), name))
                put(stack, where, name, _noting(original, partial(unmet.discard, (str(where), name))))
        for seed in range(MOST_WORLDS):
            if unmet:
                play(str(seed))

    assert unmet == set()


def _noting(original: Any, met: Callable[[], object]) -> Any:
    """The same, and `met` is told of every call."""
    if isinstance(original, property):
        assert original.fget is not None
        return property(_noting(original.fget, met))
    if isinstance(original, classmethod):
        return classmethod(_noting(original.__func__, met))

    @wraps(original)
    def around(*args: Any, **kwargs: Any) -> Any:
        met()
        return original(*args, **kwargs)

    return around
