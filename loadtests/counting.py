"""What passes through a store, by key, and what was recorded, by metric: seen from inside a process."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

from serving.metrics import Metric
from serving.store.base import Listed, Store, Versioned


class CountingStore:
    """A `Store` over another one that counts calls, and bytes by key."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.url = store.url
        self.read: Counter[str] = Counter()
        self.written: Counter[str] = Counter()
        self.calls: Counter[str] = Counter()

    def reset(self) -> None:
        """Count from zero."""
        for counter in (self.read, self.written, self.calls):
            counter.clear()

    async def get(self, key: str) -> Versioned:
        """See `Store`."""
        found = await self._store.get(key)
        self._count("get", self.read, key, len(found.data))
        return found

    async def get_range(self, key: str, start: int, length: int) -> bytes:
        """See `Store`."""
        data = await self._store.get_range(key, start, length)
        self._count("get", self.read, key, len(data))
        return data

    async def put_if_absent(self, key: str, data: bytes | Path) -> bool:
        """See `Store`. What is there already moves no bytes."""
        made = await self._store.put_if_absent(key, data)
        size = data.stat().st_size if isinstance(data, Path) else len(data)
        self._count("put", self.written, key, size if made else 0)
        return made

    async def swap(self, key: str, data: bytes, expected: str) -> str:
        """See `Store`."""
        version = await self._store.swap(key, data, expected)
        self._count("swap", self.written, key, len(data))
        return version

    async def list(self, prefix: str, *, after: str = "", limit: int | None = None) -> AsyncIterator[Listed]:
        """See `Store`."""
        self.calls["list"] += 1
        async for entry in self._store.list(prefix, after=after, limit=limit):
            yield entry

    async def stat(self, key: str) -> Listed | None:
        """See `Store`."""
        self.calls["stat"] += 1
        return await self._store.stat(key)

    async def touch(self, key: str) -> None:
        """See `Store`."""
        self.calls["touch"] += 1
        await self._store.touch(key)

    async def delete(self, key: str, *, by_ms: int | None = None) -> None:
        """See `Store`."""
        self.calls["delete"] += 1
        await self._store.delete(key, by_ms=by_ms)

    async def close(self) -> None:
        """See `Store`."""
        await self._store.close()

    def _count(self, call: str, bytes_moved: Counter[str], key: str, size: int) -> None:
        self.calls[call] += 1
        bytes_moved[key] += size


def kind_of(key: str) -> str:
    """`jobs`, `segments`, `blobs`, ... for a tenant's keys, else the first part: `active`, `runtime`."""
    parts = key.split("/")
    return parts[2] if parts[0] == "t" and len(parts) > 2 else parts[0]


class Sums:
    """A `Recorder` that keeps the sum of everything, by metric and labels."""

    def __init__(self) -> None:
        self._sums: Counter[tuple[str, tuple[str, ...]]] = Counter()

    def reset(self) -> None:
        """Count from zero."""
        self._sums.clear()

    def of(self, metric: Metric, *labels: str) -> float:
        """What was added or observed so far, for these label values."""
        return self._sums[metric.name, labels]

    def add(self, metric: Metric, amount: float = 1.0, /, **labels: str) -> None:
        """Sum a counter."""
        self._put(metric, amount, labels)

    def set(self, metric: Metric, value: float, /, **labels: str) -> None:
        """Nobody asks for gauges here."""

    def observe(self, metric: Metric, value: float, /, **labels: str) -> None:
        """Sum the values of a histogram."""
        self._put(metric, value, labels)

    def _put(self, metric: Metric, value: float, labels: dict[str, str]) -> None:
        # Counter's values are typed as whole numbers, yet hold any.
        key = (metric.name, tuple(labels[name] for name in metric.labels))
        self._sums[key] += value  # type: ignore[assignment]
