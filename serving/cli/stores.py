"""The store that a command works on, without a running server. `gc`, `doctor`, `reproduce`, `models` and `engines` open
it here.

Only what brings something into a store makes one (`longtake up`, `models add`, `engines build`): whoever reads, or
takes something away, would take a mistyped bucket or folder for an empty store, and leave it behind.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from serving.store.base import Store


@asynccontextmanager
async def opened_store(url: str | None, *, make: bool = False, probe: bool = False) -> AsyncIterator[Store]:
    """The store of this URL, or of the settings; made where it is not there, if `make` says so. The folder in the home
    that nobody named is made in any case: it cannot be mistyped.

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
    try:
        yield store
    finally:
        await store.close()
