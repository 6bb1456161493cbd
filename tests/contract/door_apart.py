"""A front door as tests know it, in a process of its own: for tests that draw from Hypothesis, which minds that other
threads use chance.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.contract.threaded_door import ThreadedDoor

ROOT = Path(__file__).parents[2]


@contextmanager
def door_apart(folder: Path) -> Iterator[str]:
    """Its gRPC address."""
    with (folder / "door.log").open("wb") as log:
        child = subprocess.Popen(
            [sys.executable, "-m", "tests.contract.door_apart", str(folder)],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True,
        )  # fmt: skip
    with child:
        assert child.stdin is not None
        assert child.stdout is not None
        address = child.stdout.readline().strip()
        assert address, (folder / "door.log").read_text()
        try:
            yield address
        finally:
            child.stdin.close()


def main() -> None:
    """Serve until the standard input ends."""
    said, sys.stdout = sys.stdout, sys.stderr  # where the log goes
    with ThreadedDoor(Path(sys.argv[1])) as door:
        said.write(f"{door.grpc_address}\n")
        said.flush()
        sys.stdin.read()


if __name__ == "__main__":
    main()
