"""Parts that many tests of serving stand on: a real directory store, a clock that is set by hand."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from serving.store.base import Store
from serving.store.open import open_store


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
