"""Keeps the logs of parts small: what grew past its bound becomes `<name>.1`, in place of the one before.

`up.py` looks from time to time. The parts hold the file open and append, so it is copied and then emptied, not renamed;
a line that is written between the two is lost.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import Iterable
from pathlib import Path

MOST_BYTES = 64 * 1024 * 1024
LOOK_EVERY_S = 5.0


async def keep_small(logs: Iterable[Path], *, most_bytes: int = MOST_BYTES, every_s: float = LOOK_EVERY_S) -> None:
    """For as long as the task runs."""
    watched = tuple(logs)
    while True:
        await asyncio.sleep(every_s)
        for log in watched:
            with contextlib.suppress(OSError):  # somebody removed it, or the disk is full: the next time
                await asyncio.to_thread(rotate, log, most_bytes)


def rotate(log: Path, most_bytes: int) -> bool:
    """Empty the file if it is larger, and keep what it held; whether it was. Raises `OSError`."""
    if log.stat().st_size <= most_bytes:
        return False
    before = log.with_name(f"{log.name}.1")
    try:
        shutil.copyfile(log, before)
    finally:
        with log.open("r+b") as file:  # also on a full disk: then what it held is what must go
            file.truncate(0)
    return True
