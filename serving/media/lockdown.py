"""Take away from this process all that decoding does not need. Only `worker.py`, a one-shot child, calls it.

What holds afterwards on Linux: no file can be opened, made, changed or removed, no socket made, no program or process
started (threads can be), no other process signalled, read, written or limited (seccomp; of files and signals Landlock
says the same again, from Linux 5.13 and 6.12 on); root has none of its privileges; memory, CPU time, open files and
written bytes are bounded (rlimits); where memory runs out, this process ends before any other; and nothing can be
gained back (no_new_privs). On another architecture than x86_64 and aarch64 seccomp's part is missing, outside Linux all
but the rlimits. What stays possible everywhere: to see that a path exists, and what its attributes are.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import resource
import struct
from contextlib import suppress
from pathlib import Path

from serving.media.syscalls import INSTRUCTION_BYTES, filter_of

_PR_SET_NO_NEW_PRIVS = 38
_PR_SET_SECCOMP = 22
_SECCOMP_MODE_FILTER = 2
_LANDLOCK_CREATE_RULESET = 444
_LANDLOCK_RESTRICT_SELF = 446
_LANDLOCK_ASK_VERSION = 1
_LANDLOCK_FILE_RIGHTS = (13, 14, 15, 15, 16)
"""How many rights to files each version of Landlock's interface knows, from the first on."""
_CAPABILITIES_VERSION = 0x2008_0522
_OOM_SCORE = Path("/proc/self/oom_score_adj")


def lock_down(*, memory_bytes: int, cpu_seconds: int) -> None:
    """Give up everything but the open files. Call it after all imports. Raises `OSError` when a limit cannot be set."""
    limits = {
        resource.RLIMIT_AS: memory_bytes,
        resource.RLIMIT_CPU: cpu_seconds,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_NOFILE: 16,
    }
    for which, bound in limits.items():
        resource.setrlimit(which, (bound, bound))
    if platform.system() != "Linux":
        return
    with suppress(OSError):  # a container may have it read-only
        _OOM_SCORE.write_text("1000")
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "no_new_privs")
    _drop_capabilities(libc)
    _forbid_files(libc)
    _forbid_syscalls(libc)


def _drop_capabilities(libc: ctypes.CDLL) -> None:
    """Root's privileges, in a container that runs as root: none effective, permitted or inherited."""
    head = ctypes.create_string_buffer(struct.pack("=Ii", _CAPABILITIES_VERSION, 0), 8)
    if libc.capset(head, ctypes.create_string_buffer(24)) != 0:
        raise OSError(ctypes.get_errno(), "capset")


def _forbid_files(libc: ctypes.CDLL) -> None:
    """A Landlock ruleset that handles every right this kernel knows (files, ports, signals), and grants none."""
    version = libc.syscall(_LANDLOCK_CREATE_RULESET, None, ctypes.c_size_t(0), _LANDLOCK_ASK_VERSION)
    if version < 0:
        if ctypes.get_errno() in (errno.ENOSYS, errno.EOPNOTSUPP):
            return
        raise OSError(ctypes.get_errno(), "landlock_create_ruleset")
    files = (1 << _LANDLOCK_FILE_RIGHTS[min(version, len(_LANDLOCK_FILE_RIGHTS)) - 1]) - 1
    ports, scopes = 0b11 if version >= 4 else 0, 0b11 if version >= 6 else 0
    # A kernel that does not know the later fields wants them to be zero, and they are.
    attributes = ctypes.create_string_buffer(struct.pack("=QQQ", files, ports, scopes), 24)
    ruleset = libc.syscall(_LANDLOCK_CREATE_RULESET, attributes, ctypes.c_size_t(24), 0)
    if ruleset < 0:
        raise OSError(ctypes.get_errno(), "landlock_create_ruleset")
    if libc.syscall(_LANDLOCK_RESTRICT_SELF, ruleset, 0) != 0:
        raise OSError(ctypes.get_errno(), "landlock_restrict_self")
    os.close(ruleset)


def _forbid_syscalls(libc: ctypes.CDLL) -> None:
    program = filter_of(platform.machine())
    if program is None:
        return
    code = ctypes.create_string_buffer(program)
    head = struct.pack("@HP", len(program) // INSTRUCTION_BYTES, ctypes.addressof(code))
    if libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.create_string_buffer(head), 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "seccomp")


def protection() -> tuple[str, bool]:
    """What would hold a decoder on this machine, in words, and whether that is all of it."""
    if platform.system() != "Linux":
        return "limits of memory and time alone: decode nothing of strangers outside of Linux", False
    libc = ctypes.CDLL(None, use_errno=True)
    version = libc.syscall(_LANDLOCK_CREATE_RULESET, None, ctypes.c_size_t(0), _LANDLOCK_ASK_VERSION)
    known = filter_of(platform.machine()) is not None
    landlock = f"Landlock {version}" if version > 0 else "no Landlock (a kernel from 5.13 on has it)"
    return f"{landlock}, {'seccomp' if known else f'no seccomp filter for {platform.machine()}'}", version > 0 and known
