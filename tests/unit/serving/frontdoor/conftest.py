"""What all tests of the front door share."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest


@pytest.fixture(scope="session", autouse=True)
async def one_event_loop(anyio_backend: str) -> AsyncIterator[None]:
    """All tests share one loop: grpc.aio keeps calling back into every loop that it has seen, also into
    closed ones.
    """
    yield  # noqa: PT022  (until the end of the run)
