"""A real front door over a directory store, with a fake Director behind it, on an event loop in a thread of its own.

For clients that block: the public client and the `longtake` command, each in processes of their own.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, Self, TypeVar

from serving.frontdoor.create.catalog import Catalog, ServedModel
from serving.frontdoor.server import FrontDoor
from serving.settings import Auth, Grpc, Http, Settings
from serving.store.base import Store
from serving.store.open import open_store
from tests.contract.fake_director import MODEL, FakeDirector

T = TypeVar("T")


class ThreadedDoor:
    """One of them, open while the context is."""

    def __init__(self, folder: Path, *, keys_file: Path | None = None, tls: tuple[Path, Path] | None = None) -> None:
        """`tls`: certificate and key."""
        self.folder = folder
        self._settings = Settings(
            store=str(folder / "store"),
            model=MODEL.model,
            grpc=Grpc(address="127.0.0.1:0", tls_cert=tls and tls[0], tls_key=tls and tls[1]),
            http=Http(address="127.0.0.1:0", url_ttl_s=3600),
            auth=Auth(keys_file=keys_file),
        )
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._stop = asyncio.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._live(),), daemon=True)
        self.store: Store
        self.director: FakeDirector
        self.grpc_address = ""
        self.http_address = ""

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait(60)
        if self._failure is not None:
            raise self._failure
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(30)
        assert not self._thread.is_alive()
        self._loop.close()

    @property
    def grpc_port(self) -> int:
        """Where it listens for gRPC."""
        return int(self.grpc_address.rpartition(":")[2])

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        """Run something on the door's own loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60)

    async def _live(self) -> None:
        try:
            self.store = await open_store(self._settings.store)
            door = FrontDoor(self._settings, self.store, Catalog([ServedModel(MODEL, "5" * 64)], default=MODEL.model))
            await door.start()
        except BaseException as error:
            self._failure = error
            self._ready.set()
            raise
        self.grpc_address = door.grpc_address
        self.http_address = door.http_address
        self.director = FakeDirector(self.store)
        async with self.director.at_work():
            self._ready.set()
            await self._stop.wait()
        await door.stop(grace_s=0.5)
        await self.store.close()
