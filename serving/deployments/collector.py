"""The collector's process beside the Director's replica: started, listened to, started again, ended with it.

`director_replica.py` hands it to the Director, which runs it as long as it works itself. The process is
`serving/retention`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import serving
from serving.logs import logger
from serving.metrics import COLLECTED_BYTES, COLLECTED_KEYS, COLLECTIONS, Recorder

FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 300.0
"""Before it is started again; twice as long each time that it ended without having collected."""
END_S = 10.0
"""A batch of deletes that it has begun ends within this, or the process is killed."""

_log = logger("collector")


class CollectorProcess:
    """One per Director."""

    def __init__(
        self, environment: Mapping[str, str], metrics: Recorder, command: Sequence[str] = ("-m", "serving.retention")
    ) -> None:
        """`environment` holds the settings. `command` is what Python is to run."""
        paths = (str(Path(serving.__file__).parents[1]), environment.get("PYTHONPATH", ""))
        self._environment = {**environment, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
        self._metrics = metrics
        self._command = command

    async def keep(self) -> None:
        """Keep it alive, until cancelled; then it has ended."""
        pause_s = FIRST_PAUSE_S
        while True:
            try:
                useful = await self._run()
            except Exception as error:  # noqa: BLE001  (the jobs go on, and the next collector may fare better)
                useful = False
                _log.error("the collector cannot be kept", message=str(error), exc_info=error)
            self._metrics.add(COLLECTIONS, outcome="crashed")
            pause_s = FIRST_PAUSE_S if useful else min(2 * pause_s, LONGEST_PAUSE_S)
            await asyncio.sleep(pause_s)

    async def _run(self) -> bool:
        """Until it ends; whether it has collected."""
        child = await asyncio.create_subprocess_exec(
            sys.executable,
            *self._command,
            "--parent",
            str(os.getpid()),
            env=self._environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
        )
        assert child.stdout is not None
        useful = False
        try:
            async for line in child.stdout:
                useful = self._heard(line) or useful
            code = await child.wait()
        finally:
            await _end(child)
        _log.error("the collector has ended and is started again", code=code)
        return useful

    def _heard(self, line: bytes) -> bool:
        """What it says of a collection; whether it was one."""
        said = json.loads(line)
        if "failed" in said:
            self._metrics.add(COLLECTIONS, outcome="failed")
            return False
        self._metrics.add(COLLECTIONS, outcome="done")
        for kind, (collected, size) in said["collected"].items():
            if collected:
                label = kind.replace(" ", "_")
                self._metrics.add(COLLECTED_KEYS, collected, kind=label)
                self._metrics.add(COLLECTED_BYTES, size, kind=label)
        return True


async def _end(child: asyncio.subprocess.Process) -> None:
    """Ask it to end, then make it; also when we are cancelled meanwhile."""
    if child.returncode is not None:
        return
    with contextlib.suppress(ProcessLookupError):
        child.terminate()
    try:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(END_S):
                await child.wait()
    finally:
        if child.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                child.kill()
            await child.wait()
