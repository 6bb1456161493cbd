"""What a long queue costs a Director: memory for a million jobs, and a part of a core for ten thousand tenants.

`python -m loadtests --only backlog`. Each figure is of a process of its own (`loadtests/backlog.py`): the shipped
Director over a store that is a round trip of 5 ms away, ten slots, of whose jobs ten end in a second.
"""

from __future__ import annotations

import json
import subprocess
import sys

from loadtests.backlog import Found
from loadtests.scale import Scale
from loadtests.table import Row

NAME = "backlog"
TENANTS = 10_000
FEW = 10
JOBS_EACH = 5
SECONDS = 30.0


def run(scale: Scale) -> list[Row]:
    """All rows."""
    return [*(_memory_row(scale.queued, dated=dated) for dated in (False, True)), *_share_rows(scale)]


def _memory_row(jobs: int, *, dated: bool) -> Row:
    found = _measured(jobs=jobs, tenants=100, dated=dated)
    what = (
        f"{jobs:,} queued jobs{', each with its own deadline' if dated else ''}: MB of the process, listings included"
    )
    each = 1e6 * (found.most_mb - found.idle_mb) / jobs
    return Row(NAME, what, f"{found.most_mb:.0f}", f"{found.idle_mb:.0f} idle", f"{each:.0f} bytes a job", "< 300")


def _share_rows(scale: Scale) -> list[Row]:
    jobs, seconds = min(scale.queued, TENANTS * JOBS_EACH), min(SECONDS, scale.queued / 1000)
    many, few = (_measured(jobs=jobs, tenants=count, dated=False, seconds=seconds) for count in (TENANTS, FEW))
    what = f"{TENANTS:,} tenants with {jobs:,} queued jobs, {many.ended:.0f} ends a second"
    return [
        _share_row(f"{what}: ordering, % of a core", many.ordering, few.ordering, "<= 10 %"),
        _share_row(f"{what}: the process, % of a core", many.core, few.core, ""),
    ]


def _share_row(what: str, many: float, few: float, aim: str) -> Row:
    return Row(NAME, what, f"{100 * many:.1f}", f"{100 * few:.1f} of {FEW} tenants", f"{many / few:.2f}", aim)


def _measured(*, jobs: int, tenants: int, dated: bool, seconds: float = 0.0) -> Found:
    command = [sys.executable, "-m", "loadtests.backlog", f"--jobs={jobs}", f"--tenants={tenants}"]
    command += [f"--seconds={seconds}", *(["--dated"] if dated else [])]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return Found(**json.loads(done.stdout))
