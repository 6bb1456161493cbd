"""How many cores this process may keep busy: engines compute with as many threads, Ray starts as many workers.

A container's quota is time, and not cores: a process sees all of the machine's, and whoever starts a thread for each is
stopped for most of every tenth of a second. `session.py` and `serving/deployments/host.py` ask.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Final

_GROUPS: Final = Path("/sys/fs/cgroup")
_OURS: Final = Path("/proc/self/cgroup")


def cores(groups: Path = _GROUPS, ours: Path = _OURS) -> int:
    """At least 1: what the scheduler allows, and what the quotas of the control groups (both versions) leave of it."""
    allowed = len(os.sched_getaffinity(0))
    return max(1, int(min([float(allowed), *_quotas(groups, ours)])))


def _quotas(groups: Path, ours: Path) -> Iterator[float]:
    """Those of our groups and of all above them, in cores."""
    try:
        lines = ours.read_text().splitlines()
    except OSError:  # not Linux, or no /proc
        return
    for line in lines:
        _, controllers, group = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        root = groups / controllers if controllers else groups
        inside = PurePosixPath(group.lstrip("/"))
        # Of a container the path may be the host's, which is not there: its own group is then what is mounted.
        for folder in (root / inside, *(root / above for above in inside.parents)):
            quota = _quota(folder)
            if quota is not None:
                yield quota


def _quota(folder: Path) -> float | None:
    """Of one group; None where it has none."""
    try:
        if (folder / "cpu.max").is_file():
            said, period = (folder / "cpu.max").read_text().split()
        else:
            said, period = (folder / "cpu.cfs_quota_us").read_text(), (folder / "cpu.cfs_period_us").read_text()
        return float(said) / float(period) if said != "max" and float(said) > 0 else None
    except (OSError, ValueError, ZeroDivisionError):
        return None
