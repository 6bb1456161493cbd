"""Open the store that a setting names. Every process calls this once at its start."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

from serving.errors import SettingsError, StoreUnfit
from serving.home import expanded
from serving.store.base import Store
from serving.store.directory import DirectoryStore
from serving.store.probe import probe as probe_store


async def open_store(url: str, *, probe: bool = True, create: bool = True) -> Store:
    """A store from `/path`, `dir:///path?local=true` or `s3://host:port/bucket/prefix?secure=false&region=us-east-1`.

    A bucket or folder that is not there is made, unless `create` is false: whoever only reads would take a mistyped one
    for an empty one. Raises `StoreMissing` then, and `StoreUnfit` when it cannot be reached, or fails the probe's
    races.
    """
    scheme = urlsplit(url).scheme
    store: Store
    if scheme in ("", "dir"):
        directory = _directory(url)
        await directory.open(create=create)
        store = directory
    elif scheme == "s3":
        from serving.store.s3.store import open_s3

        store = await open_s3(url, create=create)
    else:
        raise StoreUnfit(f"store {url!r}: unknown scheme {scheme!r}; use a directory or s3://host:port/bucket/prefix")
    if probe:
        await probe_store(store)
    return store


def folder_of(url: str) -> Path | None:
    """Where a directory store lies; None for a store of another kind. Raises `StoreUnfit`."""
    return _directory(url).root if urlsplit(url).scheme in ("", "dir") else None


def _directory(url: str) -> DirectoryStore:
    """A path as it is, or a URL with its options. Raises `StoreUnfit` for one that there is not."""
    if not url.startswith("dir://"):
        return DirectoryStore(_expanded(url, url))
    path, _, query = url.removeprefix("dir://").partition("?")
    options = dict(parse_qsl(query, keep_blank_values=True))
    if set(options) - {"local"}:
        raise StoreUnfit(f"store {url!r}: the only option of a directory is ?local=true")
    return DirectoryStore(_expanded(path, url), local=options.get("local", "").lower() == "true")


def _expanded(path: str, url: str) -> Path:
    try:
        return expanded(Path(path))
    except SettingsError as error:
        raise StoreUnfit(f"store {url!r}: {error.message}") from error
