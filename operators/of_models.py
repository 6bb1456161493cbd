"""EngineBuilds and VideoModels by the model that they are for, out of lists that looks share.

A change waits for the engines of its models, whoever asked for them. No label chooses those: users write them, and
`base+style` is no label's value; by a field of such a kind, servers choose from Kubernetes 1.31 on alone. A watch is
behind, nobody knows how far, and a service that was applied a moment after its build must not start without it. So all
of a kind is listed: to go on waiting, a list of a moment ago will do, whoever made it; to begin, one is made. However
many wait, that is two lists a second at most, and one for what begins. `cluster.py` has one of this.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

Object = dict[str, Any]
OfModel = Callable[[str, str, str], list[Object]]
"""By kind, namespace and model."""
Found = TypeVar("Found")


@dataclass
class _List:
    """The newest of one kind in one namespace. Who holds the lock reads it, or makes another one."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    began: float = float("-inf")
    found: dict[str, list[Object]] = field(default_factory=dict)


class OfModels:
    """Reads for all looks. Safe from several threads."""

    def __init__(
        self,
        every: Callable[[str, str], Iterable[Object]],
        shared_s: float,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`every` lists a kind in a namespace; `shared_s`: for so long a list will do for who waits."""
        self._every, self._shared_s, self._clock = every, shared_s, clock
        self._lists: dict[tuple[str, str], _List] = {}

    def awaited(self, seek: Callable[[OfModel], Found]) -> Found:
        """What it finds to be waited for; when it finds nothing, it has sought in lists that were made since. Raises
        what `every` does."""
        now = self._clock()
        return seek(partial(self._find, now - self._shared_s)) or seek(partial(self._find, now))

    def _find(self, since: float, kind: str, namespace: str, model: str) -> list[Object]:
        """As they were then, or later."""
        kept = self._lists.setdefault((kind, namespace), _List())
        with kept.lock:
            if kept.began < since:
                began = self._clock()
                kept.found, kept.began = _by_model(self._every(kind, namespace)), began
            return kept.found.get(model, [])


def _by_model(listed: Iterable[Object]) -> dict[str, list[Object]]:
    found: dict[str, list[Object]] = {}
    for one in listed:  # a VideoModel may be called as its model
        found.setdefault(one["spec"].get("model") or one["metadata"]["name"], []).append(one)
    return found
