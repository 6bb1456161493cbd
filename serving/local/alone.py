"""One Longtake per store in a directory, and per folder of logs: what `longtake up` holds while it runs.

Two of them on one store would take the Director's epoch from each other, and one's log would end in the other's. Two on
one S3 store are let be: there the newer Director works, and the other takes over again when it has gone.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TextIO

from serving.errors import SettingsError
from serving.store.open import folder_of


@contextmanager
def alone(store: str, logs: Path) -> Iterator[None]:
    """No other process holds them meanwhile; both are free when this one ends, however it does.

    Both folders are there. Raises `SettingsError` when another Longtake has one of them.
    """
    folder = folder_of(store)
    with ExitStack() as opened:
        if folder is not None:
            _hold(opened.enter_context(_lock(folder)), folder, "name another store (--store)")
        _hold(opened.enter_context(_lock(logs)), logs, "name another folder for logs (--logs)")
        yield


def _lock(folder: Path) -> TextIO:
    return (folder / "up.lock").open("a+")


def _hold(file: TextIO, folder: Path, instead: str) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        holder = file.read().strip() or "unknown"
        raise SettingsError(f"another Longtake (process {holder}) works in {folder}: stop it, or {instead}") from None
    file.truncate(0)
    file.write(f"{os.getpid()}\n")
    file.flush()
