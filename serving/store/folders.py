"""Names that outlive a power cut: the fsyncs of a directory store's folders, and which of them need not be done again.

A file's name is durable when its folder has been synced, and the folder's own name was before, up to the root. Most
creates fall into a folder that another has just made durable, so those are remembered. A folder that was deleted and
made anew is another one under the same name: a remembered folder is held open, so that the file system cannot give its
inode to the next one, and both can be told apart. `directory.py` uses it.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections import OrderedDict
from contextlib import ExitStack
from pathlib import Path

_MOST = 64
"""Folders that are remembered, and files that are held open for it."""


class Folders:
    """Of one store. Safe for many threads at once."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._durable: OrderedDict[Path, int] = OrderedDict()
        """Folder → a descriptor of the one whose name, and those above it, have been synced."""
        self._lock = threading.Lock()
        self._ended = weakref.finalize(self, _close_all, self._durable)

    def sync(self, folder: Path) -> None:
        """Make the names in `folder` durable, and its own up to the root. Raises `FileNotFoundError` if it is gone."""
        sync_folder(folder)
        made: dict[Path, int] = {}
        with ExitStack() as opened:
            while folder != self._root and not self._is_durable(folder):
                made[folder] = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
                opened.callback(os.close, made[folder])
                folder = folder.parent
            for name in made:
                sync_folder(name.parent)
            opened.pop_all()
        self._remember(made)

    def close(self) -> None:
        """Hold nothing open, now and later: a call may still be under way."""
        with self._lock:
            self._ended()

    def _is_durable(self, folder: Path) -> bool:
        with self._lock:
            descriptor = self._durable.get(folder)
            if descriptor is None:
                return False
            if os.path.samestat(os.fstat(descriptor), folder.stat()):
                self._durable.move_to_end(folder)
                return True
            os.close(self._durable.pop(folder))
            return False

    def _remember(self, made: dict[Path, int]) -> None:
        with self._lock:
            for folder, descriptor in made.items():
                before = self._durable.pop(folder, None)
                if before is not None:
                    os.close(before)
                self._durable[folder] = descriptor
            while len(self._durable) > (_MOST if self._ended.alive else 0):
                os.close(self._durable.popitem(last=False)[1])


def _close_all(durable: OrderedDict[Path, int]) -> None:
    while durable:
        os.close(durable.popitem()[1])


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
