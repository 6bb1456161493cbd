"""Real stores keep compare-and-swap linearizable: many clients at once, stale versions, and answers that are lost."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pytest

from serving.store.directory import DirectoryStore
from tests.history.checker import assert_linearizable, check
from tests.history.processes import Part, Unlocked, run_in_processes
from tests.history.recorder import History, Operation
from tests.history.workload import Workload, retire

KEYS = [f"jobs/{number}" for number in range(24)]


def parts(kind: type[DirectoryStore], root: Path, *, share: float = 0.0) -> list[Part]:
    """Four processes of three clients each."""
    ranges = [range(start, start + 3) for start in range(0, 12, 3)]
    return [Part(kind, root, Workload(1, clients, 150, KEYS), share) for clients in ranges]


def assert_telling(history: Iterable[Operation], *, unknown: bool) -> None:
    """The history has enough of everything to say something."""
    done = Counter(f"{operation.name} {operation.outcome}" for operation in history)
    want = ["get ok", "swap ok", "swap failed", "put_if_absent ok", "put_if_absent failed"]
    for what in (*want, *(["swap unknown"] if unknown else [])):
        assert done[what] >= 5, f"the workload has too few of {what}: {done}"


@pytest.mark.parametrize("share", [0.0, 0.1], ids=["all answers come", "answers are lost"])
def test_a_directory_store_that_processes_share(tmp_path: Path, share: float) -> None:
    operations = run_in_processes(parts(DirectoryStore, tmp_path, share=share))
    assert_telling(operations, unknown=share > 0)
    assert_linearizable(operations)


def test_a_directory_store_without_its_lock_is_found_out(tmp_path: Path) -> None:
    """The same workload shows a missing lock, so passing it means something."""
    operations = run_in_processes(parts(Unlocked, tmp_path))
    assert check(operations)
