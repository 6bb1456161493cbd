"""`python -m serving.retention`: the collector beside a Director, in a process of its own.

`deployments/collector.py` starts it, with the parent's process id, and reads a JSON line from stdout for every
collection. It ends with its parent, and on SIGTERM or SIGINT after the deletes that it has begun. A failed collection
is tried again with the next turn; whatever else goes wrong ends the process, and the parent starts it again.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys

from serving.clock import now_ms, running_ms
from serving.errors import LongtakeError
from serving.logs import configure, logger
from serving.retention.clocks import CheckedClock
from serving.retention.collect import collect_once
from serving.retention.report import Report
from serving.retention.turns import LOOK_EVERY_S, Turns
from serving.settings import Settings, load_settings
from serving.store.open import open_store

_PATIENT = 10
"""Niceness: whoever makes videos goes first."""


def main() -> int:
    """Collect until told to stop, or alone."""
    parser = argparse.ArgumentParser(prog="python -m serving.retention", description="The collector of a Director.")
    parser.add_argument("--parent", type=int, required=True, help="process id of whoever started it")
    arguments = parser.parse_args()
    os.nice(_PATIENT)
    try:
        settings = load_settings()
        configure(service="collector", format="json")
        asyncio.run(_until_stopped(settings, arguments.parent))
    except LongtakeError as error:
        print(f"longtake collector: {error.message}", file=sys.stderr)  # noqa: T201  (the one line that is no log)
        return 2
    return 0


async def _until_stopped(settings: Settings, parent: int) -> None:
    collecting = asyncio.create_task(_collect(settings))
    alone = asyncio.create_task(_orphaned(parent))
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, alone.cancel)
    await asyncio.wait({collecting, alone}, return_when=asyncio.FIRST_COMPLETED)
    if not collecting.done():
        collecting.cancel()
        await asyncio.wait({collecting})
    if not collecting.cancelled():
        await collecting


async def _orphaned(parent: int) -> None:
    while os.getppid() == parent:  # noqa: ASYNC110  (nobody tells of it)
        await asyncio.sleep(1.0)


async def _collect(settings: Settings) -> None:
    store = await open_store(settings.store, probe=False)
    turns = Turns(store, now_ms)
    checked = CheckedClock(now_ms, running_ms, allowed_s=settings.retention.margin_s)
    try:
        while True:
            try:
                async with turns.next():
                    report = await collect_once(store, settings.retention, now_ms=checked)
            except LongtakeError as error:
                logger("collector").warning("nothing collected", reason=error.reason, message=error.message)
                _tell({"failed": error.message})
                await asyncio.sleep(LOOK_EVERY_S)
            else:
                logger("collector").info("collected", report=str(report))
                _tell({"collected": _counts(report)})
    finally:
        await store.close()


def _counts(report: Report) -> dict[str, list[int]]:
    """By kind: keys and bytes."""
    return {kind: [counts.collected.keys, counts.collected.bytes] for kind, counts in report.kinds.items()}


def _tell(line: dict[str, object]) -> None:
    try:
        os.write(sys.stdout.fileno(), json.dumps(line).encode() + b"\n")
    except BrokenPipeError:  # the parent has gone, and so do we
        return


if __name__ == "__main__":
    sys.exit(main())
