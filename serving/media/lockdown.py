"""Take away from this process all that decoding does not need. Only `worker.py`, a one-shot child, calls it.

What holds afterwards, on Linux 5.13 and later: no file can be opened (Landlock), no socket made and no program or
process started (seccomp; threads can be), memory, CPU time, open files and written bytes are bounded (rlimits), and
nothing can be gained back (no_new_privs). On an older kernel, or another architecture, the rlimits alone hold.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import resource
import struct

_PR_SET_NO_NEW_PRIVS = 38
_PR_SET_SECCOMP = 22
_SECCOMP_MODE_FILTER = 2
_LANDLOCK_CREATE_RULESET = 444
_LANDLOCK_RESTRICT_SELF = 446
_LANDLOCK_ALL_FILES = (1 << 13) - 1
"""Every right of the first version of Landlock's interface: execute, read, write, make, remove."""

_ALLOW = 0x7FFF_0000
_DENY = 0x0005_0000 | errno.EPERM
_UNKNOWN = 0x0005_0000 | errno.ENOSYS
_LOAD, _JUMP_EQUAL, _JUMP_IF_SET, _RETURN = 0x20, 0x15, 0x45, 0x06
_NUMBER_AT, _ARCHITECTURE_AT, _FIRST_ARGUMENT_AT = 0, 4, 16
_CLONE_THREAD = 0x1_0000
_CLONE3 = 435
_SYSCALLS: dict[str, tuple[int, int, tuple[int, ...]]] = {
    # clone; socket, connect, bind, fork, vfork, execve, ptrace, process_vm_readv, execveat, io_uring_setup
    "x86_64": (0xC000_003E, 56, (41, 42, 49, 57, 58, 59, 101, 310, 322, 425)),
    # clone; socket, connect, bind, execve, ptrace, process_vm_readv, execveat, io_uring_setup
    "aarch64": (0xC000_00B7, 220, (198, 203, 200, 221, 117, 270, 281, 425)),
}


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
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "no_new_privs")
    _forbid_files(libc)
    _forbid_syscalls(libc)


def _forbid_files(libc: ctypes.CDLL) -> None:
    """A Landlock ruleset that handles every file right and grants none."""
    attributes = ctypes.create_string_buffer(struct.pack("=Q", _LANDLOCK_ALL_FILES), 8)
    ruleset = libc.syscall(_LANDLOCK_CREATE_RULESET, attributes, ctypes.c_size_t(8), 0)
    if ruleset < 0:
        if ctypes.get_errno() in (errno.ENOSYS, errno.EOPNOTSUPP):
            return
        raise OSError(ctypes.get_errno(), "landlock_create_ruleset")
    if libc.syscall(_LANDLOCK_RESTRICT_SELF, ruleset, 0) != 0:
        raise OSError(ctypes.get_errno(), "landlock_restrict_self")
    os.close(ruleset)


def _forbid_syscalls(libc: ctypes.CDLL) -> None:
    """A seccomp filter: the listed calls answer EPERM, as do calls of a foreign architecture."""
    known = _SYSCALLS.get(platform.machine())
    if known is None:
        return
    architecture, clone, denied = known
    program = [
        (_LOAD, 0, 0, _ARCHITECTURE_AT),
        (_JUMP_EQUAL, 1, 0, architecture),
        (_RETURN, 0, 0, _DENY),
        (_LOAD, 0, 0, _NUMBER_AT),
        # Its flags lie in memory, out of reach: let the C library fall back to `clone`.
        (_JUMP_EQUAL, 0, 1, _CLONE3),
        (_RETURN, 0, 0, _UNKNOWN),
    ]
    # Each denied call jumps to the last line.
    program += [(_JUMP_EQUAL, len(denied) - i + 4, 0, number) for i, number in enumerate(denied)]
    program += [
        (_JUMP_EQUAL, 1, 0, clone),
        (_RETURN, 0, 0, _ALLOW),
        (_LOAD, 0, 0, _FIRST_ARGUMENT_AT),
        (_JUMP_IF_SET, 0, 1, _CLONE_THREAD),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _DENY),
    ]
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in program))
    head = struct.pack("@HP", len(program), ctypes.addressof(code))
    if libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.create_string_buffer(head), 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "seccomp")
