"""The system calls that a decoder may not make, as a program of the kernel's seccomp. `lockdown.py` installs it.

All else is allowed: a list of what a codec, Python and the C library need would be longer, and wrong at each version of
one of them. What touches files, other processes, the network or the kernel's settings is on the list, and so are the
calls that do two things, by the argument that says which. Numbers are those of the kernel's tables.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

INSTRUCTION_BYTES: Final = 8
_ALLOW: Final = 0x7FFF_0000
_DENY: Final = 0x0005_0000 | errno.EPERM
_UNKNOWN: Final = 0x0005_0000 | errno.ENOSYS
_LOAD, _JUMP_EQUAL, _JUMP_FROM, _JUMP_IF_SET, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER_AT, _ARCHITECTURE_AT, _FIRST_ARGUMENT_AT, _SECOND_ARGUMENT_AT = 0, 4, 16, 24
_CLONE_THREAD: Final = 0x1_0000
_CLONE3: Final = 435
_FOREIGN_NUMBERS: Final = 0x4000_0000
"""From here on x86_64 counts the calls of its 32-bit pointer interface: the same calls by other numbers."""
_FCNTL_SIGNALS: Final = (8, 10, 15)  # F_SETOWN, F_SETSIG, F_SETOWN_EX
"""With these a pipe sends any signal to any process of this user."""
_IOCTL_SIGNALS: Final = (0x8901, 0x8902, 0x5412)  # FIOSETOWN, SIOCSPGRP, TIOCSTI
"""The same; and typing into a terminal."""
Step = tuple[int, int, int, int]


class _Architecture(NamedTuple):
    audit: int
    """What the kernel calls it."""
    clone: int
    prlimit: int
    fcntl: int
    ioctl: int
    denied: tuple[int, ...]


_ARCHITECTURES: Final[Mapping[str, _Architecture]] = {
    "x86_64": _Architecture(
        audit=0xC000_003E,
        clone=56,
        prlimit=302,
        fcntl=72,
        ioctl=16,
        denied=(
            *(2, 85, 257, 437, 303, 304, 428),  # open, creat, openat, openat2, {name_to,open_by}_handle_at, open_tree
            *(87, 263, 82, 264, 316, 84),  # unlink, unlinkat, rename, renameat, renameat2, rmdir
            *(83, 258, 86, 265, 88, 266, 133, 259),  # mkdir, mkdirat, link, linkat, symlink, symlinkat, mknod, mknodat
            *(76, 90, 268, 452, 92, 94, 260),  # truncate, chmod, fchmodat, fchmodat2, chown, lchown, fchownat
            *(
                188,
                189,
                463,
                197,
                198,
                466,
                469,
            ),  # {,l}setxattr, setxattrat, {,l}removexattr, removexattrat, file_setattr
            *(132, 235, 261, 280),  # utime, utimes, futimesat, utimensat
            *(165, 166, 161, 155, 429, 430, 254, 301),  # mount, umount2, chroot, pivot_root, *mount, inotify, fanotify
            *(41, 53, 42, 49, 425),  # socket, socketpair, connect, bind, io_uring_setup
            *(57, 58, 59, 322),  # fork, vfork, execve, execveat
            *(101, 310, 311, 434, 438, 440, 312, 448),  # ptrace, process_vm_*, pidfd_*, process_madvise, kcmp, *release
            *(62, 200, 234, 129, 297, 424),  # kill, tkill, tgkill, rt_{sig,tgsig}queueinfo, pidfd_send_signal
            *(29, 30, 64, 68, 240),  # shmget, shmat, semget, msgget, mq_open
            *(248, 249, 250, 272, 308, 321, 298, 323),  # keys, unshare, setns, bpf, perf_event_open, userfaultfd
            *(141, 142, 144, 203, 314, 251, 256, 279),  # setpriority, sched_set*, ioprio_set, migrate_pages, move_pages
        ),
    ),
    "aarch64": _Architecture(  # as above, without what this architecture does not have
        audit=0xC000_00B7,
        clone=220,
        prlimit=261,
        fcntl=25,
        ioctl=29,
        denied=(
            *(56, 437, 264, 265, 428),
            *(35, 38, 276),
            *(34, 37, 36, 33),
            *(45, 53, 452, 54),
            *(5, 6, 463, 14, 15, 466, 469),
            *(88,),
            *(40, 39, 51, 41, 429, 430, 27, 263),
            *(198, 199, 203, 200, 425),
            *(221, 281),
            *(117, 270, 271, 434, 438, 440, 272, 448),
            *(129, 130, 131, 138, 240, 424),
            *(194, 196, 190, 186, 180),
            *(217, 218, 219, 97, 268, 280, 241, 282),
            *(140, 118, 119, 122, 274, 30, 238, 239),
        ),
    ),
}


def filter_of(machine: str) -> bytes | None:
    """The program for `platform.machine()`: listed calls answer EPERM, as do calls of a foreign architecture. None for
    a machine whose numbers are not known here."""
    found = _ARCHITECTURES.get(machine)
    if found is None:
        return None
    program: list[Step] = [
        (_LOAD, 0, 0, _ARCHITECTURE_AT),
        (_JUMP_EQUAL, 1, 0, found.audit),
        (_RETURN, 0, 0, _DENY),
        (_LOAD, 0, 0, _NUMBER_AT),
        (_JUMP_FROM, 0, 1, _FOREIGN_NUMBERS),
        (_RETURN, 0, 0, _DENY),
        # Its flags lie in memory, out of reach: let the C library fall back to `clone`.
        (_JUMP_EQUAL, 0, 1, _CLONE3),
        (_RETURN, 0, 0, _UNKNOWN),
    ]
    for number in found.denied:
        program += [(_JUMP_EQUAL, 0, 1, number), (_RETURN, 0, 0, _DENY)]
    program += [
        *_denied_with(found.fcntl, _FCNTL_SIGNALS),
        *_denied_with(found.ioctl, _IOCTL_SIGNALS),
        # Threads, but no processes.
        (_JUMP_EQUAL, 0, 4, found.clone),
        (_LOAD, 0, 0, _FIRST_ARGUMENT_AT),
        (_JUMP_IF_SET, 0, 1, _CLONE_THREAD),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _DENY),
        # Its own limits (process 0), and no other process's.
        (_JUMP_EQUAL, 0, 3, found.prlimit),
        (_LOAD, 0, 0, _FIRST_ARGUMENT_AT),
        (_JUMP_EQUAL, 1, 0, 0),
        (_RETURN, 0, 0, _DENY),
        (_RETURN, 0, 0, _ALLOW),
    ]
    return b"".join(struct.pack("=HBBI", *step) for step in program)


def _denied_with(call: int, commands: Sequence[int]) -> list[Step]:
    """One call, with these as its second argument."""
    steps: list[Step] = [(_LOAD, 0, 0, _SECOND_ARGUMENT_AT)]
    for command in commands:
        steps += [(_JUMP_EQUAL, 0, 1, command), (_RETURN, 0, 0, _DENY)]
    steps.append((_RETURN, 0, 0, _ALLOW))
    return [(_JUMP_EQUAL, 0, len(steps), call), *steps]
