"""A container's quota counts, wherever it stands, and never leaves less than one core."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from engines.cores import cores


@pytest.mark.parametrize(
    ("groups", "ours", "found"),
    [
        ({}, "0::/", 64),
        ({"cpu.max": "max 100000"}, "0::/", 64),
        ({"cpu.max": "200000 100000"}, "0::/", 2),
        ({"cpu.max": "250000 100000"}, "0::/", 2),
        ({"cpu.max": "20000 100000"}, "0::/", 1),
        ({"cpu.max": "max 100000", "pod/cpu.max": "300000 100000", "pod/one/cpu.max": "max 100000"}, "0::/pod/one", 3),
        ({"pod/cpu.max": "300000 100000", "pod/one/cpu.max": "800000 100000"}, "0::/pod/one", 3),
        (
            {"cpu,cpuacct/cpu.cfs_quota_us": "400000", "cpu,cpuacct/cpu.cfs_period_us": "100000"},
            "4:cpu,cpuacct:/away",
            4,
        ),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, "4:cpu:/\n1:memory:/x\n0::/", 64),
        ({"cpu.max": "nonsense"}, "0::/", 64),
    ],
)
def test_a_quota_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, groups: dict[str, str], ours: str, found: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(64)))
    for name, text in groups.items():
        (tmp_path / "groups" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "groups" / name).write_text(f"{text}\n")
    (tmp_path / "ours").write_text(f"{ours}\n")

    assert cores(tmp_path / "groups", tmp_path / "ours") == found


def test_without_any_it_is_what_the_scheduler_allows(tmp_path: Path) -> None:
    assert cores(tmp_path, tmp_path / "none") == len(os.sched_getaffinity(0))
