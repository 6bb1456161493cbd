"""A directory store's listing: the keys below a folder, in byte order. `directory.py` uses it."""

from __future__ import annotations

import heapq
import os
from collections.abc import Iterator
from operator import itemgetter
from pathlib import Path

from serving.store.base import Listed


def walk(folder: Path, prefix: str, after: str, *, few: bool, at: str = "") -> Iterator[Listed]:
    """Keys that start with `prefix` and come behind `after`; `folder` is what the key `at` names.

    `few`: the first ones only will be taken, so that what comes behind them need not be put in order.
    """
    wanted, behind = prefix[len(at) :], after[len(at) :] if after.startswith(at) else ""
    names: list[tuple[str, os.DirEntry[str]]] = []
    try:
        for entry in os.scandir(folder):
            # Before they are put in order: of a folder with very many files often a single one is asked for.
            if entry.is_dir():
                name = entry.name + "/"  # it sorts as the keys in it do
                if (name.startswith(wanted) or wanted.startswith(name)) and (name > behind or behind.startswith(name)):
                    names.append((name, entry))
            elif (name := entry.name) > behind and name.startswith(wanted):
                names.append((name, entry))
    except (FileNotFoundError, NotADirectoryError):
        return
    for name, entry in _smallest_first(names) if few else sorted(names, key=itemgetter(0)):
        if name.endswith("/"):
            yield from walk(folder / entry.name, prefix, after, few=few, at=at + name)
            continue
        try:
            yield listed(at + name, entry.stat())
        except FileNotFoundError:  # deleted while we listed
            continue


def listed(key: str, found: os.stat_result) -> Listed:
    """What a listing tells of a file."""
    return Listed(key, found.st_size, found.st_mtime_ns // 1_000_000)


def _smallest_first(names: list[tuple[str, os.DirEntry[str]]]) -> Iterator[tuple[str, os.DirEntry[str]]]:
    heapq.heapify(names)
    while names:
        yield heapq.heappop(names)
