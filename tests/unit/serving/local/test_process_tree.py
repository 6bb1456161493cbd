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
from pathlib import Path
from serving.local.process_tree import ProcessTree, descendants

async def main():
    folder = Path(sys.argv[2])
    tree = ProcessTree()
    with open(os.devnull, "wb") as output:
        # Either a child that ignores SIGTERM, with grandchildren that leave their family and write into the folder
        # as long as they live, or one that just waits.
        writing = 'sleep 300 & while mkdir -p "$0/again"; do sleep 0.01; done'
        wild = f"trap '' TERM; setsid sh -c '{writing}' '{folder}' & wait"
        script = wild if sys.argv[1] == "end" else "exec sleep 300"
        await tree.start(["sh", "-c", script], env=dict(os.environ), output=output)
    while len(descendants(os.getpid())) < (3 if sys.argv[1] == "end" else 1):
        await asyncio.sleep(0.01)
    print(*descendants(os.getpid()), flush=True)
    if sys.argv[1] == "end":
        await tree.end(0.2, folder)
    else:
        await asyncio.sleep(300)

asyncio.run(main())
"""


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _start(how: str, folder: Path) -> tuple[subprocess.Popen[bytes], list[int]]:
    child = subprocess.Popen([sys.executable, "-c", _PROGRAM, how, str(folder)], stdout=subprocess.PIPE, cwd=Path.cwd())
    assert child.stdout is not None
    return child, [int(pid) for pid in child.stdout.readline().split()]


def test_nothing_is_left_whatever_the_children_did(tmp_path: Path) -> None:
    child, pids = _start("end", tmp_path / "session")

    assert child.wait(30) == 0
    assert len(pids) >= 3
    assert not any(_alive(pid) for pid in pids)
    assert not (tmp_path / "session").exists()


def test_children_end_when_the_supervisor_is_killed(tmp_path: Path) -> None:
    child, pids = _start("obedient", tmp_path)

    child.kill()
    child.wait(10)

    ends = time.monotonic() + 10
    while any(_alive(pid) for pid in pids) and time.monotonic() < ends:
        time.sleep(0.01)
    assert not any(_alive(pid) for pid in pids)
