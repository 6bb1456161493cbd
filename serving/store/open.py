"""Open the store that a setting names. Every process calls this once at its start."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from serving.errors import StoreUnfit
from serving.store.base import Store
from serving.store.directory import DirectoryStore
from serving.store.probe import probe as probe_store


async def open_store(url: str, *, probe: bool = True) -> Store:
    """A store from `/path`, `dir:///path` or `s3://host:port/bucket/prefix?secure=false&region=us-east-1`.

    Raises `StoreUnfit` when it cannot be reached, or fails the probe's races.
    """
    scheme = urlsplit(url).scheme
    store: Store
    if scheme in ("", "dir"):
        directory = DirectoryStore(Path(url.removeprefix("dir://")).expanduser())
        await directory.open()
        store = directory
    elif scheme == "s3":
        from serving.store.s3 import open_s3

        store = await open_s3(url)
    else:
        raise StoreUnfit(f"store {url!r}: unknown scheme {scheme!r}; use a directory or s3://host:port/bucket/prefix")
    if probe:
        await probe_store(store)
    return store
