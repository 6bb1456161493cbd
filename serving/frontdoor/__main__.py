"""`python -m serving.frontdoor`: one front-door process. `longtake up` starts one, a cluster starts many.

It prints structured logs and nothing else. When it listens it reports its addresses on the file descriptor `--reports`
(`serving/reports.py`), if that is given, and closes it. SIGTERM and SIGINT stop it in order, a second one at once.

Exit codes: 0 stopped, 2 a setting is wrong, a port is taken or the store is missing (one line on stderr says which).
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import signal
import sys

from serving.errors import LongtakeError
from serving.frontdoor.create.catalog import Catalog, ServedModel
from serving.frontdoor.edge.descriptors import raise_limit
from serving.frontdoor.server import FrontDoor
from serving.logs import configure
from serving.media.memory import few_arenas, large_blocks_apart
from serving.reports import Reports
from serving.settings import Settings, load_settings
from serving.store.base import Store
from serving.store.open import open_store


def main() -> int:
    """Run until a signal comes."""
    parser = argparse.ArgumentParser(prog="python -m serving.frontdoor", description="One Longtake front door.")
    parser.add_argument("--reports", type=int, help="file descriptor for a JSON line with the addresses")
    arguments = parser.parse_args()
    try:
        settings = load_settings()
        configure(service="frontdoor")
        raise_limit()
        few_arenas()
        large_blocks_apart()
        asyncio.run(serve(settings, None if arguments.reports is None else Reports(arguments.reports)))
    except LongtakeError as error:
        print(f"longtake front door: {error.message}", file=sys.stderr)  # noqa: T201  (the one line that is no log)
        return 2
    return 0


async def serve(settings: Settings, reports: Reports | None) -> None:
    """Open the store, serve until a signal comes, stop. Raises what keeps it from starting."""
    stop = _signals()
    store = await open_store(settings.store)
    try:
        door = FrontDoor(settings, store, await catalog_of(settings, store))
        await door.start()
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
    """The model that is served, with the digest of the engines that the replicas load from this store.

    Raises `SettingsError` for a model that is not known, `EngineMissing`.
    """
    from serving import engine_store, model_store

    model = await model_store.find(settings.model, store)
    engines = await engine_store.find(model, store, settings.engines)
    served = ServedModel(model.family.capabilities, engines.manifest.digest, model.family.roles)
    return Catalog([served], default=settings.model)


def _signals() -> asyncio.Event:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop


if __name__ == "__main__":
    sys.exit(main())
