"""The store that a command works on, without a running server. `gc`, `doctor`, `reproduce`, `models` and `engines` open
it here.

Only what brings something into a store makes one (`longtake up`, `models add`, `engines build`): whoever reads, or
takes something away, would take a mistyped bucket or folder for an empty store, and leave it behind.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from serving.store.base import Store


@asynccontextmanager
async def opened_store(url: str | None, *, make: bool = False, probe: bool = False) -> AsyncIterator[Store]:
    """The store of this URL, or of the settings; made where it is not there, if `make` says so. The folder in the home
    that nobody named is made in any case: it cannot be mistyped. Until it is closed, warnings of rooms go to stderr.

    Raises `StoreMissing`, `StoreUnfit`, `SettingsError`.
    """
    from serving.errors import StoreMissing
    from serving.settings import load_settings
    from serving.store.open import open_store

    settings = load_settings(**({"store": url} if url else {}))
    make = make or "store" not in settings.model_fields_set
    try:
        store = await open_store(settings.store, probe=probe, create=make)
    except StoreMissing as error:
        raise StoreMissing(f"{error.message}; is the name mistyped? `longtake up` makes a new store") from error
    with _logging_apart():
        try:
            yield store
        finally:
            await store.close()


@contextmanager
def _logging_apart() -> Iterator[None]:
    """Keep logs off stdout, which scripts read."""
    import structlog

    from serving.logs import configure

    before = structlog.get_config()
    configure(service="longtake", level=logging.WARNING)
    try:
        yield
    finally:
        structlog.configure(**before)
