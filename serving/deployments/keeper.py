"""`python -m serving.deployments.keeper`: the host, and the end of all that comes of it, however it ends.

`local/parts.py` starts it in place of the host. `up` may be killed, and then somebody must end Ray. The host cannot do
that itself: Ray puts handlers of its own in place of the host's, and they may end it in the middle of anything, or lose
a signal. So this process, which knows nothing of Ray, waits: for the host's end, for SIGTERM, or for the end of `up`,
which the kernel tells as SIGTERM. A SIGHUP is the host's, and is handed on.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
from pathlib import Path

from serving.local.process_tree import ProcessTree

GRACE_S = 6.0
"""The host has so long to end by itself; `up` waits a little longer for us."""


def main() -> None:
    """Run the host to its end; the exit code is the host's."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reports", type=int, required=True, help="file descriptor for progress lines")
    parser.add_argument("--temp", type=Path, required=True, help="folder for Ray's session; it is removed at the end")
    arguments = parser.parse_args()
    raise SystemExit(asyncio.run(keep(arguments.temp, arguments.reports)))


async def keep(temp: Path, reports: int) -> int:
    """Start the host, wait for it or for SIGTERM, and leave neither a process nor the folder behind."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    tree = ProcessTree()
    command = [sys.executable, "-m", "serving.deployments.host", "--temp", str(temp), "--reports", str(reports)]
    host = await tree.start(command, env=os.environ, output=sys.stdout.buffer, pass_fds=[reports])
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, host.send_signal, signal.SIGHUP)
    os.close(reports)  # its end tells that the host is gone
    ended, stopped = asyncio.create_task(host.wait()), asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({ended, stopped}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await tree.end(GRACE_S, temp)
    return ended.result() if ended.done() and not stop.is_set() else 0


if __name__ == "__main__":
    main()
