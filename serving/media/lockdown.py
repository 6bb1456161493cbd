"""Take away from this process all that decoding does not need. Only `worker.py`, a one-shot child, calls it.

What holds afterwards, on Linux 5.13 and later: no file can be opened (Landlock); no socket made, no program or process
started (threads can be), no file changed by its path, no other process signalled, read, written or limited (seccomp);
root has none of its privileges; memory, CPU time, open files and written bytes are bounded (rlimits); and nothing can
be gained back (no_new_privs). On an older kernel Landlock's part is missing, on another architecture than x86_64 and
aarch64 seccomp's, outside Linux all but the rlimits. What stays possible everywhere: to see that a path exists.
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
_LANDLOCK_ASK_VERSION = 1
_LANDLOCK_FILE_RIGHTS = (13, 14, 15, 15, 16)
"""How many rights to files each version of Landlock's interface knows, from the first on."""
_CAPABILITIES_VERSION = 0x2008_0522

_ALLOW = 0x7FFF_0000
_DENY = 0x0005_0000 | errno.EPERM
_UNKNOWN = 0x0005_0000 | errno.ENOSYS
_LOAD, _JUMP_EQUAL, _JUMP_FROM, _JUMP_IF_SET, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER_AT, _ARCHITECTURE_AT, _FIRST_ARGUMENT_AT = 0, 4, 16
_CLONE_THREAD = 0x1_0000
_CLONE3 = 435
_FOREIGN_NUMBERS = 0x4000_0000
"""From here on x86_64 counts the calls of its 32-bit pointer interface: the same calls by other numbers."""
_ARCHITECTURES = {"x86_64": 0xC000_003E, "aarch64": 0xC000_00B7}
_CLONE = {"x86_64": 56, "aarch64": 220}
_PRLIMIT = {"x86_64": 302, "aarch64": 261}
_DENIED: dict[str, tuple[int, ...]] = {
    "x86_64": (
        *(41, 53, 42, 49, 425),  # socket, socketpair, connect, bind, io_uring_setup
        *(57, 58, 59, 322),  # fork, vfork, execve, execveat
        *(101, 310, 311, 434, 438, 440),  # ptrace, process_vm_{readv,writev}, pidfd_{open,getfd}, process_madvise
        *(62, 200, 234, 129, 297, 424),  # kill, tkill, tgkill, rt_{sig,tgsig}queueinfo, pidfd_send_signal
        *(76, 90, 268, 452, 92, 94, 260),  # truncate, chmod, fchmodat, fchmodat2, chown, lchown, fchownat
        *(188, 189, 463, 197, 198, 466, 469),  # {,l}setxattr, setxattrat, {,l}removexattr, removexattrat, file_setattr
        *(132, 235, 261, 280),  # utime, utimes, futimesat, utimensat
        *(29, 30, 64, 68, 240),  # shmget, shmat, semget, msgget, mq_open
        *(
            248,
            249,
            250,
            272,
            308,
            321,
            298,
            323,
        ),  # add_key, request_key, keyctl, unshare, setns, bpf, perf, userfaultfd
        *(141, 142, 144, 203, 314, 251, 256, 279),  # setpriority, sched_set*, ioprio_set, migrate_pages, move_pages
    ),
    "aarch64": (  # as above, without what this architecture does not have
        *(198, 199, 203, 200, 425),
        *(221, 281),
        *(117, 270, 271, 434, 438, 440),
        *(129, 130, 131, 138, 240, 424),
        *(45, 53, 452, 54),
        *(5, 6, 463, 14, 15, 466, 469),
        *(88,),
        *(194, 196, 190, 186, 180),
        *(217, 218, 219, 97, 268, 280, 241, 282),
        *(140, 118, 119, 122, 274, 30, 238, 239),
    ),
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
    """A seccomp filter: the listed calls answer EPERM, as do calls of a foreign architecture."""
    machine = platform.machine()
    if machine not in _ARCHITECTURES:
        return
    program = [
        (_LOAD, 0, 0, _ARCHITECTURE_AT),
        (_JUMP_EQUAL, 1, 0, _ARCHITECTURES[machine]),
        (_RETURN, 0, 0, _DENY),
        (_LOAD, 0, 0, _NUMBER_AT),
        (_JUMP_FROM, 0, 1, _FOREIGN_NUMBERS),
        (_RETURN, 0, 0, _DENY),
        # Its flags lie in memory, out of reach: let the C library fall back to `clone`.
        (_JUMP_EQUAL, 0, 1, _CLONE3),
        (_RETURN, 0, 0, _UNKNOWN),
    ]
    for number in _DENIED[machine]:
        program += [(_JUMP_EQUAL, 0, 1, number), (_RETURN, 0, 0, _DENY)]
    program += [
        # Threads, but no processes.
        (_JUMP_EQUAL, 0, 4, _CLONE[machine]),
        (_LOAD, 0, 0, _FIRST_ARGUMENT_AT),
        (_JUMP_IF_SET, 0, 1, _CLONE_THREAD),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _DENY),
        # Its own limits (process 0), and no other process's.
        (_JUMP_EQUAL, 0, 3, _PRLIMIT[machine]),
        (_LOAD, 0, 0, _FIRST_ARGUMENT_AT),
        (_JUMP_EQUAL, 1, 0, 0),
        (_RETURN, 0, 0, _DENY),
        (_RETURN, 0, 0, _ALLOW),
    ]
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in program))
    head = struct.pack("@HP", len(program), ctypes.addressof(code))
    if libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.create_string_buffer(head), 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "seccomp")
