"""Longtake beside a program: `longtake up` in a child process, for as long as a `with` block lasts.

The demo, benchmarks and tests use it.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from serving import reports
from serving.local.parts import Say, StartFailed, environment_of
from serving.local.up import GRACE_S, Read, Ready, run_async
from serving.reports import Reports
from serving.settings import Settings, load_settings


class Embedded:
    """Longtake beside this program, for as long as a `with` block lasts.

    It runs in a child process, so that Ray and the tree of processes stay out of this one; when this program dies, it
    ends too. Use addresses with port 0 to get free ones: `embedded.ready` tells which.
    """

    def __init__(self, settings: Settings, *, logs: Path, say: Say = lambda _: None) -> None:
        self._settings = settings
        self._logs = logs
        self._say = say
        self._child: subprocess.Popen[bytes] | None = None
        self._ready: Ready | None = None

    @property
    def ready(self) -> Ready:
        """Where it listens."""
        assert self._ready is not None, "enter the context first"
        return self._ready

    @property
    def pid(self) -> int:
        """The process below which everything runs."""
        assert self._child is not None, "enter the context first"
        return self._child.pid

    def __enter__(self) -> Self:
        """Start and wait until ready. Raises `StartFailed`."""
        reading, writing = os.pipe()
        try:
            self._child = subprocess.Popen(
                [sys.executable, "-m", "serving.local.embedded", "--reports", str(writing), "--logs", str(self._logs)],
                env=environment_of(self._settings),
                stdin=subprocess.DEVNULL,
                pass_fds=[writing],
                start_new_session=True,
            )
        finally:
            os.close(writing)
        try:
            with os.fdopen(reading, "rb") as lines:
                self._ready = self._await_ready(lines)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop, and wait until every process has ended."""
        self.stop()

    async def __aenter__(self) -> Self:
        """As `__enter__`, beside other work."""
        return await asyncio.to_thread(self.__enter__)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """As `__exit__`, beside other work."""
        await asyncio.to_thread(self.stop)

    def stop(self) -> None:
        """End it; harmless to repeat."""
        if self._child is None or self._child.poll() is not None:
            return
        self._child.send_signal(signal.SIGTERM)
        try:
            self._child.wait(4 * GRACE_S)
        except subprocess.TimeoutExpired:
            self._child.send_signal(signal.SIGTERM)
            self._child.wait(GRACE_S)

    def _await_ready(self, lines: BinaryIO) -> Ready:
        assert self._child is not None
        said = "it said nothing"
        for report in map(reports.read, lines):
            if report.ready:
                return Ready(**report.ready)
            said = report.text
            self._say(said)
        raise StartFailed(said.removeprefix("error: "), self._child.wait())


def main() -> int:
    """`python -m serving.local.embedded`: what `Embedded` starts."""
    parser = argparse.ArgumentParser(description="Longtake in a child process; see Embedded.")
    parser.add_argument("--reports", type=int, required=True, help="file descriptor for progress lines")
    parser.add_argument("--logs", type=Path, required=True, help="folder for logs")
    arguments = parser.parse_args()
    child = Reports(arguments.reports)
    parent = os.getppid()

    def ready(found: Ready) -> None:
        child.ready(**vars(found))

    return asyncio.run(_with_parent(parent, load_settings, child.say, ready, arguments.logs))


async def _with_parent(parent: int, read: Read, say: Say, ready: Callable[[Ready], None], logs: Path) -> int:
    """`run_async`, and stop when the parent has gone."""
    watching = asyncio.create_task(_stop_without(parent))
    try:
        return await run_async(read, say, ready, logs)
    finally:
        watching.cancel()


async def _stop_without(parent: int) -> None:
    while os.getppid() == parent:  # noqa: ASYNC110  (nobody tells of it)
        await asyncio.sleep(1.0)
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main())
