"""A tree of processes that ends together: whatever its members start, nothing is left behind.

`up.py` and `deployments/keeper.py` have one. The process becomes the reaper of all its descendants (Linux), so that
what a dying child leaves is still found; children run in sessions of their own, so that a Ctrl-C reaches only us, and
die when we do.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import shutil
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

_SET_PDEATHSIG = 1
_SET_CHILD_SUBREAPER = 36
_KILL_ROUNDS = 100
_ROUND_S = 0.1


class ProcessTree:
    """Starts children and ends them with all their descendants."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None) if sys.platform == "linux" else None
        if self._libc is not None:
            self._libc.prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        self._children: list[asyncio.subprocess.Process] = []
        self._forced = asyncio.Event()

    async def start(
        self, arguments: Sequence[str], *, env: Mapping[str, str], output: IO[bytes], pass_fds: Sequence[int] = ()
    ) -> asyncio.subprocess.Process:
        """Start a child; both its output streams go to a file."""
        child = await asyncio.create_subprocess_exec(
            *arguments,
            env=env,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            pass_fds=tuple(pass_fds),
            start_new_session=True,
            preexec_fn=self._die_with_parent if self._libc is not None else None,
        )
        self._children.append(child)
        return child

    def force(self) -> None:
        """Do not wait for anybody any more: `end` kills at once."""
        self._forced.set()

    async def end(self, grace_s: float, folder: Path) -> None:
        """Ask the children to stop, the newest first, then kill whatever is left of the tree, and remove its `folder`.

        Raises `RuntimeError` when something cannot be killed, or the folder not removed.
        """
        for child in reversed(self._children):
            if child.returncode is None and not self._forced.is_set():
                child.send_signal(signal.SIGTERM)
                await self._wait(child, grace_s)
        for _ in range(_KILL_ROUNDS):
            left = descendants(os.getpid())
            for pid in left:
                _kill(pid)
            # Whoever dies may write into the folder once more, and /proc is no snapshot: a child whose parent ends
            # while we read may not be seen. So both are looked at until both are gone.
            shutil.rmtree(folder, ignore_errors=True)
            if not left and not folder.exists():
                return
            await asyncio.sleep(_ROUND_S)
            self._reap_orphans()
        raise RuntimeError(f"not killed: {descendants(os.getpid())}; or not removed: {folder}")

    async def end_orphans(self) -> None:
        """Kill what children left behind that have ended themselves."""
        for _ in range(_KILL_ROUNDS):
            living = {child.pid for child in self._children if child.returncode is None}
            kept = {pid for child in living for pid in (child, *descendants(child))}
            left = [pid for pid in descendants(os.getpid()) if pid not in kept]
            if not left:
                return
            for pid in left:
                _kill(pid)
            await asyncio.sleep(_ROUND_S)
            self._reap_orphans()

    async def _wait(self, child: asyncio.subprocess.Process, grace_s: float) -> None:
        ended = asyncio.create_task(child.wait())
        forced = asyncio.create_task(self._forced.wait())
        await asyncio.wait({ended, forced}, timeout=grace_s, return_when=asyncio.FIRST_COMPLETED)
        for task in (ended, forced):
            task.cancel()

    def _reap_orphans(self) -> None:
        """Collect dead descendants that became ours; asyncio collects the children that it started."""
        started = {child.pid for child in self._children}
        for pid, (parent, state) in _processes().items():
            if parent == os.getpid() and state == "Z" and pid not in started:
                with contextlib.suppress(ChildProcessError):  # whoever started it was quicker
                    os.waitpid(pid, os.WNOHANG)

    def _die_with_parent(self) -> None:
        assert self._libc is not None
        self._libc.prctl(_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)


def descendants(root: int) -> list[int]:
    """Living processes below `root`, parents before their children; empty where /proc is not."""
    processes = _processes()
    found = [root]
    for pid in found:
        found.extend(child for child, (parent, _) in processes.items() if parent == pid)
    return [pid for pid in found[1:] if processes[pid][1] != "Z"]


def kill_descendants() -> None:
    """Kill all that this process started, and what that did. Raises `RuntimeError` when something cannot be killed."""
    for _ in range(_KILL_ROUNDS):
        left = descendants(os.getpid())
        if not left:
            return
        for pid in left:
            _kill(pid)
        time.sleep(_ROUND_S)
    raise RuntimeError(f"not killed: {descendants(os.getpid())}")


def _processes() -> dict[int, tuple[int, str]]:
    """Every process: pid → (parent, state letter)."""
    found: dict[int, tuple[int, str]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            stat = (folder / "stat").read_text()
        except OSError:  # it ended meanwhile
            continue
        # The name, in brackets, may hold anything; the fields after it do not.
        state, parent = stat.rpartition(")")[2].split()[:2]
        found[int(folder.name)] = (int(parent), state)
    return found


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:  # it ended by itself
        return
