"""A real front door with the studio behind it, in a thread of its own, and the `longtake` command beside it."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from serving.frontdoor.create.catalog import Catalog, ServedModel
from serving.frontdoor.server import FrontDoor
from serving.settings import Grpc, Http, Settings
from serving.store.open import open_store
from tests.contract.xai_studio import MODEL, Studio


@dataclass(frozen=True)
class Cli:
    """The command, against one server, in one folder."""

    server: str
    folder: Path

    def start(self, *words: str) -> subprocess.Popen[str]:
        """`longtake ...` as a child process."""
        return subprocess.Popen(
            [sys.executable, "-m", "serving.cli.main", *words],
            cwd=self.folder,
            env={**os.environ, "LONGTAKE_SERVER": self.server, "COLUMNS": "100"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """The same, until it has ended."""
        with self.start(*words) as child:
            out, err = child.communicate(timeout=60)
        return subprocess.CompletedProcess(words, child.returncode, out, err)

    def did(self, *words: str) -> str:
        """What a command that must succeed printed."""
        done = self.run(*words)
        assert done.returncode == 0, f"{words}: {done.stderr}"
        return done.stdout


@contextmanager
def front_door(folder: Path) -> Iterator[tuple[str, Studio]]:
    """Its gRPC address, and the studio that finishes its jobs."""
    started, stop = threading.Event(), threading.Event()
    found: list[tuple[str, Studio]] = []

    async def serve() -> None:
        settings = Settings(
            store=str(folder / "store"),
            model=MODEL.model,
            grpc=Grpc(address="127.0.0.1:0"),
            http=Http(address="127.0.0.1:0"),
        )
        store = await open_store(settings.store)
        door = FrontDoor(settings, store, Catalog([ServedModel(MODEL, "5" * 64)], default=MODEL.model))
        await door.start()
        studio = Studio(store)
        async with studio.at_work():
            found.append((door.grpc_address, studio))
            started.set()
            await asyncio.to_thread(stop.wait)
        await door.stop(grace_s=0.2)
        await store.close()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    try:
        assert started.wait(30)
        yield found[0]
    finally:
        stop.set()
        thread.join(30)
