"""A real front door over a directory store with a studio behind it, and the public client in processes of its own."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import os
import subprocess
import sys
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import av
import numpy as np

from serving.frontdoor.create.catalog import Catalog, ServedModel
from serving.frontdoor.server import FrontDoor
from serving.settings import Auth, Grpc, Http, Settings
from serving.store.base import Store
from serving.store.open import open_store
from tests.contract.xai_studio import MODEL, Studio, png

CLIENTS = Path(__file__).parent / "xai_client"
CLIENT_TIMEOUT_S = 240
T = TypeVar("T")


class House:
    """Server and studio, on an event loop in a thread of their own."""

    def __init__(self, folder: Path, *, keys_file: Path | None, tls: tuple[Path, Path] | None) -> None:
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
        self.studio: Studio
        self.grpc_port = 0
        self.http_address = ""

    def open(self) -> None:
        self._thread.start()
        self._ready.wait(60)
        if self._failure is not None:
            raise self._failure

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(30)
        assert not self._thread.is_alive()
        self._loop.close()

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        """Run something on the house's own loop."""
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
        self.grpc_port = int(door.grpc_address.rpartition(":")[2])
        self.http_address = door.http_address
        self.studio = Studio(self.store)
        async with self.studio.at_work():
            self._ready.set()
            await self._stop.wait()
        await door.stop(grace_s=0.5)
        await self.store.close()

    def client(
        self, script: str, scenario: str, *, asynchronous: bool = False, key: str = "any", **env: str
    ) -> dict[str, Any]:
        """Run a scenario of the public client; what it saw."""
        environment = {"LONGTAKE_HOST": f"localhost:{self.grpc_port}", **env}
        return run_client(self.folder, script, scenario, asynchronous=asynchronous, key=key, **environment)


def run_client(
    folder: Path, script: str, scenario: str, *, asynchronous: bool = False, key: str = "any", **env: str
) -> dict[str, Any]:
    """Run a scenario of the public client in a process of its own, below `folder`; what it saw."""
    command = [sys.executable, str(CLIENTS / script), scenario, *(["--async"] if asynchronous else [])]
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "XAI_API_KEY": key, **env}
    work = folder / f"client-{scenario}-{asynchronous}"
    work.mkdir(exist_ok=True)
    (work / "cat.png").write_bytes(CAT)
    (work / "film.mp4").write_bytes(FILM)
    (work / "cat.dataurl").write_text(f"data:image/png;base64,{base64.b64encode(CAT).decode()}")
    done = subprocess.run(command, cwd=work, env=environment, capture_output=True, text=True, timeout=CLIENT_TIMEOUT_S)
    if done.returncode:
        raise AssertionError(f"{script} {scenario} failed:\n{done.stderr[-6000:]}")
    seen: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return seen


@contextmanager
def open_house(folder: Path, *, keys_file: Path | None = None, tls: tuple[Path, Path] | None = None) -> Iterator[House]:
    """A house that is torn down at the end. `tls`: certificate and key."""
    house = House(folder, keys_file=keys_file, tls=tls)
    house.open()
    try:
        yield house
    finally:
        house.close()


def _cat() -> bytes:
    frame = np.full((40, 60, 3), 90, np.uint8)
    frame[10:30, 20:40] = (220, 120, 30)
    return png(frame)


def _film() -> bytes:
    """Three seconds of 25 frames, as another program writes them."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 320, 180, "yuv420p"
        for number in range(75):
            frame = np.full((180, 320, 3), 3 * number, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
    return buffer.getvalue()


CAT = _cat()
"""A picture to upload."""
FILM = _film()
"""A video that was made elsewhere."""
