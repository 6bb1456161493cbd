"""One event loop for all contract tests that are coroutines."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from serving.settings import Uploads
from tests.contract.longtake_door import Client, opened, settings_for


@pytest.fixture(scope="session", autouse=True)
async def one_event_loop(anyio_backend: str) -> AsyncIterator[None]:
    """grpc.aio keeps calling back into every loop that it has seen, also into closed ones."""
    yield  # noqa: PT022  (until the end of the run)


@pytest.fixture(scope="module")
async def client(tmp_path_factory: pytest.TempPathFactory, one_event_loop: None) -> AsyncIterator[Client]:
    settings = settings_for(tmp_path_factory.mktemp("door"), uploads=Uploads(allow_loopback_urls=True))
    async with opened(settings) as client:
        yield client
