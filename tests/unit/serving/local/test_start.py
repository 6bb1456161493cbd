"""A start that takes too long says which part is late and where its log lies, and leaves no process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc and the child subreaper")

_PROGRAM = """
import asyncio, os, sys
from pathlib import Path
from serving.local.parts import Part, StartFailed
from serving.local.process_tree import ProcessTree, descendants
from serving.local.up import _start

async def main():
    folder, tree = Path(sys.argv[1]), ProcessTree()
    never = [sys.executable, "-c", "import time; time.sleep(300)"]
    parts = tuple(Part(f"the {name}", never, log=folder / name, tree=tree) for name in ("hall", "door"))
    try:
        await _start(parts, dict(os.environ), print, within_s=0.25)
    except StartFailed as error:
        print(error.code, error)
    await tree.end(0.2, folder / "none")
    print(*descendants(os.getpid()))

asyncio.run(main())
"""


def test_a_part_that_is_late_is_named_with_its_log(tmp_path: Path) -> None:
    found = subprocess.run([sys.executable, "-c", _PROGRAM, str(tmp_path)], capture_output=True, text=True, check=True)
    told, left = found.stdout.splitlines()
    assert told == (
        f"1 the hall and the door: not ready after 0.25 s (log: {tmp_path}/hall, {tmp_path}/door). "
        "If this machine is busy, start again when it is less so"
    )
    assert (left, found.stderr) == ("", "")
