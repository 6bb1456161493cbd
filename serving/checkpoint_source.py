"""Where checkpoints and adapters come from: a folder here, or a prefix of a bucket, read by ranges, never copied whole.

`longtake models add` and `engines build` read through it. A bucket is one as the setting `store` names it, with the
same credentials.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from engines.checkpoints.adapters import AdapterFile
from engines.checkpoints.files import Files, Folder
from engines.errors import CheckpointUnfit
from serving.store.base import Store
from serving.store.open import open_store


@asynccontextmanager
async def opened_checkpoint(source: str) -> AsyncIterator[Files]:
    """The files of `/path` or `s3://host:port/bucket/prefix`. Files of a bucket are for other threads than this loop's.

    Raises `CheckpointUnfit` for no such folder, or an empty prefix; `StoreUnfit`.
    """
    if not source.startswith("s3://"):
        yield Folder(Path(source).expanduser())
        return
    async with _opened_bucket(source) as store:
        sizes = {found.key: found.size async for found in store.list("")}
        if not sizes:
            raise CheckpointUnfit(f"{source}: nothing there; a checkpoint is a prefix with model_index.json in it")
        yield StoreFiles(source, store, sizes)


@asynccontextmanager
async def opened_adapter(source: str) -> AsyncIterator[AdapterFile]:
    """The file of `/path/style.safetensors` or `s3://host:port/bucket/style.safetensors`, as `opened_checkpoint`."""
    absent = CheckpointUnfit(f"{source}: no such file; an adapter is one file, *.safetensors")
    if not source.startswith("s3://"):
        path = Path(source)
        if not path.is_file():
            raise absent
        yield AdapterFile(Folder(path.parent), path.name)
        return
    place, mark, options = source.partition("?")
    folder, _, name = place.rpartition("/")
    async with _opened_bucket(f"{folder}{mark}{options}") as store:
        found = await store.stat(name)  # of what else lies there nobody asks
        if found is None:
            raise absent
        yield AdapterFile(StoreFiles(source, store, {name: found.size}), name)


@asynccontextmanager
async def _opened_bucket(source: str) -> AsyncIterator[Store]:
    store = await open_store(source, probe=False, create=False)
    try:
        yield store
    finally:
        await store.close()


class StoreFiles:
    """Implements `Files` on a store that the running loop has opened."""

    def __init__(self, source: str, store: Store, sizes: dict[str, int]) -> None:
        """`sizes` in bytes, by key."""
        self._source = source
        self._store = store
        self._sizes = sizes
        self._loop = asyncio.get_running_loop()

    def __str__(self) -> str:
        return self._source

    def names(self) -> frozenset[str]:
        """See `Files`."""
        return frozenset(self._sizes)

    def size(self, name: str) -> int:
        """See `Files`."""
        if name not in self._sizes:
            raise CheckpointUnfit(f"{name}: not there; copy the checkpoint again, whole")
        return self._sizes[name]

    def read(self, name: str, begin: int, end: int) -> bytes:
        """See `Files`; not from the loop's own thread, which it would wait for."""
        if end > self.size(name):
            raise CheckpointUnfit(f"{name}: ends before byte {end}; copy it again")
        if begin == end:
            return b""
        reading = asyncio.run_coroutine_threadsafe(self._store.get_range(name, begin, end - begin), self._loop)
        data = reading.result()
        if len(data) != end - begin:
            raise CheckpointUnfit(f"{name}: it changed while it was read; start again")
        return data
