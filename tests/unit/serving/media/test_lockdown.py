"""What a process that has locked itself down can still do. It runs as a child: there is no way back."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from serving.media.syscalls import INSTRUCTION_BYTES, filter_of

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the lock-down is Linux's")

PROBE = """
import fcntl, os, signal, resource, socket, sys, threading
from serving.media import lockdown
from serving.media.lockdown import lock_down

path, other = sys.argv[1], int(sys.argv[2])
reader, writer = os.pipe()
if not {landlock}:
    lockdown._forbid_files = lambda libc: None
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
    "open to write": "lambda: open(path, 'a')",
    "find": "lambda: os.open(path, os.O_PATH)",
    "read another": "lambda: open(f'/proc/{{other}}/environ')",
    "list": "lambda: os.listdir('/')",
    "remove": "lambda: os.remove(path)",
    "rename": "lambda: os.rename(path, path + '.away')",
    "link": "lambda: os.link(path, path + '.too')",
    "point": "lambda: os.symlink('/etc', path + '.there')",
    "make a folder": "lambda: os.mkdir(path + '.folder')",
    "make a pipe": "lambda: os.mkfifo(path + '.pipe')",
    "remove a folder": "lambda: os.rmdir(os.path.dirname(path))",
    "signal by a pipe": "lambda: fcntl.fcntl(reader, fcntl.F_SETOWN, other)",
    "choose the signal": "lambda: fcntl.fcntl(reader, 10, signal.SIGKILL)",
    "signal by a file": "lambda: fcntl.ioctl(reader, 0x8901, other.to_bytes(4, 'little'))",
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
    "write to a pipe": "lambda: os.write(writer, b'x')",
    "wait for none": "lambda: fcntl.fcntl(reader, fcntl.F_SETFL, os.O_NONBLOCK)",
}
LANDLOCK = pytest.mark.parametrize("landlock", [True, False], ids=["with landlock", "without"])


def attempt(acts: dict[str, str], path: Path, *, landlock: bool) -> dict[str, str]:
    """What becomes of each act in a process that is locked down: "possible" or the error's name."""
    code = PROBE.format(landlock=landlock, acts="\n".join(f"    {name!r}: {act}," for name, act in acts.items()))
    command = [sys.executable, "-c", code, str(path), str(os.getpid())]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    return dict(line.split(":") for line in done.stdout.splitlines() if line)


@LANDLOCK
def test_it_reaches_no_file_no_network_and_no_other_process(tmp_path: Path, landlock: bool) -> None:
    """Kernels before 5.13, and those whose owner has switched it off, have no Landlock."""
    precious = tmp_path / "precious"
    precious.write_bytes(b"kept")
    precious.chmod(0o600)
    became = attempt(FORBIDDEN, precious, landlock=landlock)
    assert became.pop("much memory") == "MemoryError"
    assert became == dict.fromkeys(became, "PermissionError")
    assert set(became) | {"much memory"} == set(FORBIDDEN)
    assert precious.read_bytes() == b"kept"
    assert precious.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [precious]


@LANDLOCK
def test_it_can_still_compute(tmp_path: Path, landlock: bool) -> None:
    assert attempt(ALLOWED, tmp_path, landlock=landlock) == dict.fromkeys(ALLOWED, "possible")


def test_it_is_the_first_to_go_where_memory_runs_out() -> None:
    code = """
from pathlib import Path
from serving.media import lockdown
lockdown._forbid_files = lockdown._forbid_syscalls = lambda libc: None
lockdown.lock_down(memory_bytes=1 << 31, cpu_seconds=5)
print(Path("/proc/self/oom_score_adj").read_text().strip())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "1000"


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_a_filter_ends_within_what_the_kernel_takes(machine: str) -> None:
    program = filter_of(machine)
    assert program is not None
    steps = [struct.unpack_from("=HBBI", program, at) for at in range(0, len(program), INSTRUCTION_BYTES)]
    assert len(steps) <= 4096
    for at, (code, if_so, if_not, _) in enumerate(steps):
        if code & 0x07 == 0x05:  # a jump: its ends are steps
            assert at + 1 + max(if_so, if_not) < len(steps)
    assert filter_of("riscv64") is None
