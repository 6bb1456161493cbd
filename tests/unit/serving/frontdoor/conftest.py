"""Parts that most tests of the front door stand on: a real directory store, a clock that is set by hand."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from serving.store.base import Store
from serving.store.open import open_store


@pytest.fixture(scope="session", autouse=True)
async def one_event_loop(anyio_backend: str) -> AsyncIterator[None]:
    """All tests share one loop: grpc.aio keeps calling back into every loop that it has seen, also into
    closed ones.
    """
    yield  # noqa: PT022  (until the end of the run)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    store = await open_store(str(tmp_path / "store"), probe=False)
    yield store
    await store.close()


@dataclass
class Clock:
    """Stands still until a test moves it."""

    ms: int = 1_800_000_000_000

    def now_ms(self) -> int:
        return self.ms

    def seconds(self) -> float:
        return self.ms / 1000

    def pass_s(self, seconds: float) -> None:
        self.ms += round(seconds * 1000)


@pytest.fixture
def clock() -> Clock:
    return Clock()
