"""The directory store keeps compare-and-swap linearizable between processes."""

from __future__ import annotations

from pathlib import Path

import pytest

from serving.store.directory import DirectoryStore
from tests.history.checker import assert_linearizable, check
from tests.history.processes import Part, Unlocked, run_in_processes
from tests.history.workload import Workload, assert_telling

KEYS = [f"jobs/{number}" for number in range(24)]


def parts(kind: type[DirectoryStore], root: Path, *, share: float = 0.0) -> list[Part]:
    """Four processes of three clients each."""
    ranges = [range(start, start + 3) for start in range(0, 12, 3)]
    return [Part(kind, root, Workload(1, clients, 150, KEYS), share) for clients in ranges]


@pytest.mark.parametrize("share", [0.0, 0.1], ids=["all answers come", "answers are lost"])
def test_a_directory_store_that_processes_share(tmp_path: Path, share: float) -> None:
    history = run_in_processes(parts(DirectoryStore, tmp_path, share=share))
    assert_telling(history, unknown=share > 0)
    assert_linearizable(history.operations)


def test_a_directory_store_without_its_lock_is_found_out(tmp_path: Path) -> None:
    """The same workload shows a missing lock, so passing it means something."""
    assert check(run_in_processes(parts(Unlocked, tmp_path)).operations)
