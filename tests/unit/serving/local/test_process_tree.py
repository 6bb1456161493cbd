"""A tree of processes that ends together, tried in a process of its own."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc and the child subreaper")

_PROGRAM = """
import asyncio, os, sys
from serving.local.process_tree import ProcessTree, descendants

async def main():
    tree = ProcessTree()
    with open(os.devnull, "wb") as output:
        # Either a child that ignores SIGTERM with grandchildren that leave their family, or one that just waits.
        wild = "trap '' TERM; setsid sh -c 'sleep 300 & sleep 300' & wait"
        script = wild if sys.argv[1] == "end" else "exec sleep 300"
        await tree.start(["sh", "-c", script], env=dict(os.environ), output=output)
    while len(descendants(os.getpid())) < (4 if sys.argv[1] == "end" else 1):
        await asyncio.sleep(0.01)
    print(*descendants(os.getpid()), flush=True)
    if sys.argv[1] == "end":
        await tree.end(0.2)
    else:
        await asyncio.sleep(300)

asyncio.run(main())
"""


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _start(how: str) -> tuple[subprocess.Popen[bytes], list[int]]:
    child = subprocess.Popen([sys.executable, "-c", _PROGRAM, how], stdout=subprocess.PIPE, cwd=Path.cwd())
    assert child.stdout is not None
    return child, [int(pid) for pid in child.stdout.readline().split()]


def test_nothing_is_left_whatever_the_children_did() -> None:
    child, pids = _start("end")

    assert child.wait(30) == 0
    assert len(pids) == 4
    assert not any(_alive(pid) for pid in pids)


def test_children_end_when_the_supervisor_is_killed() -> None:
    child, pids = _start("obedient")

    child.kill()
    child.wait(10)

    ends = time.monotonic() + 10
    while any(_alive(pid) for pid in pids) and time.monotonic() < ends:
        time.sleep(0.01)
    assert not any(_alive(pid) for pid in pids)
