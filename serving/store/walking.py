"""A directory store's listing: the keys below a folder, in byte order. `directory.py` uses it."""

from __future__ import annotations

import heapq
import os
import stat
from collections.abc import Iterator

from serving.store.base import Listed


def walk(folder: str, prefix: str, after: str, at: str = "") -> Iterator[Listed]:
    """Keys that start with `prefix` and come behind `after`; `folder` is what the key `at` names.

    Of a folder with very many files often the first page is all that is asked for. So no file is looked at, and
    nothing is put in order, before it is its turn.
    """
    wanted, behind = prefix[len(at) :], after[len(at) :] if after.startswith(at) else ""
    try:
        names = os.listdir(folder)  # noqa: PTH208  (names are all that is needed)
    except (FileNotFoundError, NotADirectoryError):
        return
    if wanted:
        names = [name for name in names if name.startswith(wanted) or wanted.startswith(name)]
    if behind:
        names = [name for name in names if name > behind or behind.startswith(name)]
    heapq.heapify(names)
    while names:
        name = heapq.heappop(names)
        if name.endswith("/"):
            yield from walk(f"{folder}/{name[:-1]}", prefix, after, at + name)
            continue
        try:
            found = os.stat(f"{folder}/{name}")  # noqa: PTH116  (a path object costs as much as the call)
        except FileNotFoundError:  # deleted while we listed
            continue
        if not stat.S_ISDIR(found.st_mode):
            if name > behind and name.startswith(wanted):
                yield listed(at + name, found)
            continue
        name += "/"  # it sorts as the keys in it do, which may be behind others
        if (name.startswith(wanted) or wanted.startswith(name)) and (name > behind or behind.startswith(name)):
            heapq.heappush(names, name)


def listed(key: str, found: os.stat_result) -> Listed:
    """What a listing tells of a file."""
    return Listed(key, found.st_size, found.st_mtime_ns // 1_000_000)
