"""`python -m serving.frontdoor`: one front-door process. `longtake up` starts one, a cluster starts many.

It prints structured logs and nothing else. When it listens it reports its addresses on the file descriptor `--reports`
(`serving/reports.py`), if that is given, and closes it. SIGTERM and SIGINT stop it in order, a second one at once. On
SIGHUP it reads the settings that lie in the folder `--reloads`, and offers the models that these name.

Exit codes: 0 stopped, 2 a setting is wrong, a port is taken or the store is missing (one line on stderr says which).
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import signal
import sys
from pathlib import Path

from serving.cycles import collect_cycles_rarely
from serving.errors import LongtakeError
from serving.frontdoor.create.catalog import Catalog, ServedModel
from serving.frontdoor.edge.descriptors import raise_limit
from serving.frontdoor.server import FrontDoor
from serving.logs import configure, logger
from serving.media.memory import few_arenas, large_blocks_apart
from serving.reloading import reloaded
from serving.reports import Reports
from serving.settings import Settings, load_settings
from serving.store.base import Store
from serving.store.open import open_store


def main() -> int:
    """Run until a signal comes."""
    parser = argparse.ArgumentParser(prog="python -m serving.frontdoor", description="One Longtake front door.")
    parser.add_argument("--reports", type=int, help="file descriptor for a JSON line with the addresses")
    parser.add_argument("--reloads", type=Path, help="folder for settings that have changed while it runs")
    arguments = parser.parse_args()
    try:
        settings = load_settings()
        configure(service="frontdoor")
        raise_limit()
        few_arenas()
        large_blocks_apart()
        collect_cycles_rarely()
        reports = None if arguments.reports is None else Reports(arguments.reports)
        asyncio.run(serve(settings, reports, arguments.reloads))
    except LongtakeError as error:
        print(f"longtake front door: {error.message}", file=sys.stderr)  # noqa: T201  (the one line that is no log)
        return 2
    return 0


async def serve(settings: Settings, reports: Reports | None, reloads: Path | None) -> None:
    """Open the store, serve until a signal comes, stop. Raises what keeps it from starting."""
    stop = _signals()
    store = await open_store(settings.store)
    try:
        catalog = await catalog_of(settings, store)
        door = FrontDoor(settings, store, catalog)
        await door.start()
        if reloads is not None:
            _reload_on_hangup(settings, catalog, store, reloads)
        # What was imported stays: without this, every full collection walks all of it, in the midst of the polls.
        gc.collect()
        gc.freeze()
        if reports is not None:
            reports.ready(grpc=door.grpc_address, http=door.http_address)
            reports.close()
        await stop.wait()
        stop.clear()
        stopping = asyncio.create_task(door.stop())
        again = asyncio.create_task(stop.wait())
        await asyncio.wait({stopping, again}, return_when=asyncio.FIRST_COMPLETED)
        again.cancel()
        if stopping.done():
            stopping.result()
    finally:
        await store.close()


async def catalog_of(settings: Settings, store: Store) -> Catalog:
    """The models that are served, each with the digest of the engines that its replicas load from this store.

    Raises `SettingsError` for a model that is not known, `EngineMissing`.
    """
    return Catalog(await served(settings, store), default=settings.model)


async def served(settings: Settings, store: Store) -> list[ServedModel]:
    """What `catalog_of` offers."""
    from serving import engine_store, model_store

    found = []
    for name in settings.served:
        model = await model_store.find(name, store)
        engines = await engine_store.find(model, store, settings.of(name).engines)
        found.append(ServedModel(model.family.capabilities, engines.manifest.digest, model.family.roles))
    return found


def _reload_on_hangup(settings: Settings, catalog: Catalog, store: Store, folder: Path) -> None:
    running: set[asyncio.Task[None]] = set()

    async def reload() -> None:
        try:
            now = reloaded(settings, folder)
            catalog.offer(await served(now, store), default=now.model)
            logger("frontdoor").info("models are offered", models=list(catalog.models))
        except LongtakeError as error:
            logger("frontdoor").error("it offers what it offered", reason=error.reason, message=error.message)

    def heard() -> None:
        task = asyncio.create_task(reload(), name="reload")
        running.add(task)
        task.add_done_callback(running.discard)

    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, heard)


def _signals() -> asyncio.Event:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop


if __name__ == "__main__":
    sys.exit(main())
