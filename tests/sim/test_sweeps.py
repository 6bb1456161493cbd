"""The rule of a sweep breaks where a blob could be lost, and nowhere else."""

from __future__ import annotations

import json

import pytest

from serving.store.keys import SWEEP
from tests.sim.published import Violation
from tests.sim.store import Disk
from tests.sim.sweeps import Sweeps

KEY = "t/tenant/blobs/1"


class _Swept:
    """A blob that a sweep may delete, on a disk whose clock goes by hand."""

    def __init__(self) -> None:
        self.now_ms = 0
        self.disk = Disk(lambda: self.now_ms)
        self.sweeps = Sweeps(self.disk, margin_s=60.0)
        self.disk.put_if_absent(KEY, b"bytes")
        self.disk.put_if_absent(SWEEP, json.dumps({"keys": []}).encode())
        self.now_ms += 61_000

    def announce(self) -> None:
        self.now_ms += 1
        self.disk.swap(SWEEP, json.dumps({"keys": [KEY]}).encode(), self.disk.get(SWEEP).version)

    def touch(self) -> None:
        self.now_ms += 1
        self.disk.touch(KEY)


@pytest.fixture
def swept() -> _Swept:
    return _Swept()


def test_what_is_old_goes_once_it_is_announced(swept: _Swept) -> None:
    with pytest.raises(Violation, match="nobody has announced"):
        swept.sweeps.deleted(KEY)
    swept.announce()

    swept.sweeps.deleted(KEY)


def test_what_was_touched_before_the_announcement_stays(swept: _Swept) -> None:
    swept.touch()
    swept.announce()

    with pytest.raises(Violation, match="young already"):
        swept.sweeps.deleted(KEY)


def test_whoever_touches_it_after_the_announcement_looks_there(swept: _Swept) -> None:
    swept.announce()
    swept.touch()

    swept.sweeps.deleted(KEY)
