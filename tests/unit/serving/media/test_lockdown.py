"""What a process that has locked itself down can still do. It runs as a child: there is no way back."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the lock-down is Linux's")

PROBE = """
import os, signal, resource, socket, sys, threading
from serving.media.lockdown import lock_down

path, other = sys.argv[1], int(sys.argv[2])
lock_down(memory_bytes=1 << 31, cpu_seconds=5)
acts = {{
{acts}
}}
for name, act in acts.items():
    try:
        act()
    except (OSError, MemoryError, RuntimeError) as error:
        print(name, type(error).__name__, sep=":")
    else:
        print(name, "possible", sep=":")
"""
FORBIDDEN = {
    "open": "lambda: open(path)",
    "list": "lambda: os.listdir('/')",
    "remove": "lambda: os.remove(path)",
    "truncate": "lambda: os.truncate(path, 0)",
    "chmod": "lambda: os.chmod(path, 0o777)",
    "chown": "lambda: os.chown(path, 1, 1)",
    "touch": "lambda: os.utime(path)",
    "mark": "lambda: os.setxattr(path, 'user.a', b'b')",
    "connect": "socket.socket",
    "pair": "socket.socketpair",
    "fork": "os.fork",
    "execute": "lambda: os.execv('/bin/true', ['true'])",
    "kill another": "lambda: os.kill(other, 0)",
    "slow another": "lambda: os.setpriority(os.PRIO_PROCESS, other, 10)",
    "limit another": "lambda: resource.prlimit(other, resource.RLIMIT_NOFILE, (1, 1))",
    "much memory": "lambda: bytearray(1 << 32)",
}
ALLOWED = {
    "start a thread": "lambda: threading.Thread(target=str).start()",
    "read its limits": "lambda: resource.getrlimit(resource.RLIMIT_STACK)",
    "some memory": "lambda: bytearray(1 << 28)",
}


def attempt(acts: dict[str, str], path: Path) -> dict[str, str]:
    """What becomes of each act in a process that is locked down: "possible" or the error's name."""
    code = PROBE.format(acts="\n".join(f"    {name!r}: {act}," for name, act in acts.items()))
    command = [sys.executable, "-c", code, str(path), str(os.getpid())]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    return dict(line.split(":") for line in done.stdout.splitlines() if line)


def test_it_reaches_no_file_no_network_and_no_other_process(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_bytes(b"kept")
    precious.chmod(0o600)
    became = attempt(FORBIDDEN, precious)
    assert became.pop("much memory") == "MemoryError"
    assert became == dict.fromkeys(became, "PermissionError")
    assert set(became) | {"much memory"} == set(FORBIDDEN)
    assert precious.read_bytes() == b"kept"
    assert precious.stat().st_mode & 0o777 == 0o600


def test_it_can_still_compute(tmp_path: Path) -> None:
    assert attempt(ALLOWED, tmp_path) == dict.fromkeys(ALLOWED, "possible")
