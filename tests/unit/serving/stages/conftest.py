"""Stages over a real store and the real engines."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from engines.session import Session, load_session
from serving.metrics import Unrecorded
from serving.stages.loaded import Loaded
from serving.store.open import open_store


@pytest.fixture(scope="session")
def session() -> Session:
    """All engines of the model, loaded once."""
    return asyncio.run(load_session("sprite-2", threads=1))


@pytest.fixture
async def loaded(tmp_path: Path, session: Session, anyio_backend: str) -> AsyncIterator[Loaded]:
    """What every stage stands on."""
    store = await open_store(str(tmp_path / "store"), probe=False)
    yield Loaded(session, store, Unrecorded())
    await store.close()
