"""Both forms of the Python client under one set of tests: the sync one is driven in threads, so that the loop goes on
serving.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Generator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, cast

from serving.client import AsyncClient, Client

FORMS = ("sync", "async")
_GENERATORS = ("watch", "list", "files")
T = TypeVar("T")


class InThreads:
    """A sync client with the methods of an async one. Its threads are its own: the loop's belong to the server."""

    def __init__(self, client: Client, threads: Executor) -> None:
        self._client = client
        self._threads = threads

    def __getattr__(self, name: str) -> Callable[..., Awaitable[object] | AsyncIterator[object]]:
        method = getattr(self._client, name)

        def call(*args: Any, **kwargs: Any) -> Awaitable[object] | AsyncIterator[object]:
            bound = partial(method, *args, **kwargs)
            return self._steps(bound()) if name in _GENERATORS else self._in_thread(bound)

        return call

    async def _in_thread(self, function: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, function)

    async def _steps(self, found: Generator[object]) -> AsyncIterator[object]:
        end = object()
        try:
            while (item := await self._in_thread(partial(next, found, end))) is not end:
                yield item
        finally:
            await self._in_thread(found.close)


@asynccontextmanager
async def connected(
    form: str,
    server: str,
    *,
    api_key: str | None = None,
    ca_file: Path | None = None,
    timeout_s: float = 30,
    retries: int = 3,
) -> AsyncIterator[AsyncClient]:
    """A client of this form, used as the async one whatever it is."""
    if form == "async":
        async with AsyncClient(
            server, api_key=api_key, ca_file=ca_file, timeout_s=timeout_s, retries=retries
        ) as client:
            yield client
        return
    with (
        Client(server, api_key=api_key, ca_file=ca_file, timeout_s=timeout_s, retries=retries) as sync,
        ThreadPoolExecutor(16) as threads,
    ):
        yield cast(AsyncClient, InThreads(sync, threads))
