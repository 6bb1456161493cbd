"""What clients asked of a store and what they were told, in the order in which it happened.

A `History` is filled through one `Recorder` per client, which stands before any store; `checker.py` judges it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from serving.errors import Conflict, NotFound
from serving.store.base import Versioned

Name = Literal["get", "put_if_absent", "swap", "delete"]
Outcome = Literal["ok", "failed", "unknown"]


class Register(Protocol):
    """The part of a store that is judged: what is done to one key. Every `serving.store.base.Store` is one."""

    async def get(self, key: str) -> Versioned: ...

    async def put_if_absent(self, key: str, data: bytes | Path) -> bool: ...

    async def swap(self, key: str, data: bytes, expected: str) -> str: ...

    async def delete(self, key: str) -> None: ...


@dataclass(frozen=True)
class Operation:
    """One operation of one client on one key."""

    client: int
    key: str
    name: Name
    outcome: Outcome
    """`failed` is a definite no: absent, present or conflict. `unknown`: it happened, or will later, or never."""

    invoked: int
    responded: int | None
    """None where the outcome is unknown: the operation may take effect at any time after `invoked`."""

    data: bytes | None = None
    """What a write wrote (no other write of the history writes the same), or what a get found."""

    expected: str | None = None
    """The version that a swap named."""

    version: str | None = None
    """The version that was answered, by a get or a swap."""

    error: str = ""
    """The class of the exception that the client saw."""


@dataclass
class History:
    """Operations of all clients. `now` must grow, and be the same clock for all of them."""

    now: Callable[[], int] = field(default_factory=lambda: itertools.count(1).__next__)
    operations: list[Operation] = field(default_factory=list)
    doubts_refusals: bool = False
    """Record every refused write as unknown: for a store whose refusal may hide that the write was done."""


@dataclass
class _Answer:
    outcome: Outcome = "ok"
    data: bytes | None = None
    version: str | None = None


class Recorder:
    """A store that writes down what is done through it. One client's: give every client its own."""

    def __init__(self, store: Register, history: History, client: int) -> None:
        self._store = store
        self._history = history
        self._client = client

    async def get(self, key: str) -> Versioned:
        with self._recorded("get", key) as answer:
            found = await self._store.get(key)
            answer.data, answer.version = found.data, found.version
        return found

    async def put_if_absent(self, key: str, data: bytes | Path) -> bool:
        written = data if isinstance(data, bytes) else data.read_bytes()
        with self._recorded("put_if_absent", key, written) as answer:
            created = await self._store.put_if_absent(key, data)
            answer.outcome = "ok" if created else "failed"
        return created

    async def swap(self, key: str, data: bytes, expected: str) -> str:
        with self._recorded("swap", key, data, expected) as answer:
            answer.version = await self._store.swap(key, data, expected)
        return answer.version

    async def delete(self, key: str) -> None:
        with self._recorded("delete", key):
            await self._store.delete(key)

    @contextmanager
    def _recorded(
        self, name: Name, key: str, data: bytes | None = None, expected: str | None = None
    ) -> Iterator[_Answer]:
        """Stamp both ends. Only the errors that the interface names are a definite no; every error goes on."""
        invoked, answer, error = self._history.now(), _Answer(data=data), ""
        try:
            yield answer
        except BaseException as raised:
            answer.outcome = "failed" if isinstance(raised, Conflict | NotFound) else "unknown"
            error = type(raised).__name__
            raise
        finally:
            if self._history.doubts_refusals and answer.outcome == "failed" and name != "get":
                answer.outcome = "unknown"
            responded = None if answer.outcome == "unknown" else self._history.now()
            operation = Operation(
                self._client,
                key,
                name,
                answer.outcome,
                invoked,
                responded,
                answer.data,
                expected,
                answer.version,
                error,
            )
            self._history.operations.append(operation)
