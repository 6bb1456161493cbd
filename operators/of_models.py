"""EngineBuilds and VideoModels by the model that they are for, out of one list that all looks share.

A change waits for the engines of its models, whoever asked for them. No label chooses those: users write them, and
`base+style` is no label's value; by a field of such a kind, servers choose from Kubernetes 1.31 on alone. A watch is
behind, nobody knows how far, and a service that was applied a moment after its build must not start without it. So all
of a kind is listed, when somebody asks, at most twice a second. `cluster.py` has one of this.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

Object = dict[str, Any]


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
        """`every` lists a kind in a namespace, for all that ask within `shared_s` of its beginning. As a look comes at
        least that long after its event, what was there at the event is in the list."""
        self._every, self._shared_s, self._clock = every, shared_s, clock
        self._lists: defaultdict[tuple[str, str], _List] = defaultdict(_List)

    def find(self, kind: str, namespace: str, model: str) -> list[Object]:
        """Those that are for this model. Raises what `every` does."""
        kept = self._lists[kind, namespace]
        with kept.lock:
            now = self._clock()
            if now - kept.began > self._shared_s:
                kept.found, kept.began = _by_model(self._every(kind, namespace)), now
            return kept.found.get(model, [])


def _by_model(listed: Iterable[Object]) -> dict[str, list[Object]]:
    found: dict[str, list[Object]] = {}
    for one in listed:  # a VideoModel may be called as its model
        found.setdefault(one["spec"].get("model") or one["metadata"]["name"], []).append(one)
    return found
