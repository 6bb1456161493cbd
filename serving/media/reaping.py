"""Ends the processes that decode, whatever becomes of those who started them. `sandbox.py` calls it."""

from __future__ import annotations

import asyncio
import os
import signal
from asyncio.subprocess import Process
from contextlib import suppress

_GRACE_S = 0.2
_DRAIN_BYTES = 1 << 16
_reaping: set[asyncio.Task[None]] = set()
"""Asyncio itself would let go of a task that nobody waits for."""


async def ended(child: Process, *, at_once: bool = False) -> None:
    """Let a child that has answered end by itself; end any other, or with `at_once` this one too.

    It is killed before anything is waited for, and reaped even where the caller is cancelled meanwhile: nobody comes
    back for it.
    """
    if at_once:
        _kill(child)
    task = asyncio.create_task(_reap(child, 0 if at_once else _GRACE_S))
    _reaping.add(task)
    task.add_done_callback(_reaping.discard)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        _kill(child)
        raise


async def _reap(child: Process, grace_s: float) -> None:
    try:
        async with asyncio.timeout(grace_s):
            await child.wait()
    except TimeoutError:
        _kill(child)
        # What it said and nobody read keeps the pipe open, and `wait` waits for the pipe too.
        assert child.stdout is not None
        while await child.stdout.read(_DRAIN_BYTES):
            pass
        await child.wait()


def _kill(child: Process) -> None:
    if child.returncode is None:
        with suppress(ProcessLookupError):  # it ended in this very moment
            os.kill(child.pid, signal.SIGKILL)
