"""Logs that grow without end."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import pytest

from serving.local.rotation import keep_small, rotate


def test_a_log_that_grew_is_kept_once_and_its_writer_goes_on(tmp_path: Path) -> None:
    log, before = tmp_path / "a.log", tmp_path / "a.log.1"
    with log.open("ab", buffering=0) as writer:
        writer.write(b"x" * 10)
        assert not rotate(log, 10)
        writer.write(b"y")
        assert rotate(log, 10)
        assert (before.read_bytes(), log.read_bytes()) == (b"x" * 10 + b"y", b"")
        writer.write(b"z" * 11)
        assert rotate(log, 10)
        writer.write(b"end")
    assert (before.read_bytes(), log.read_bytes()) == (b"z" * 11, b"end")


@pytest.mark.anyio
async def test_a_log_that_went_away_keeps_no_other_from_being_looked_at(tmp_path: Path) -> None:
    log = tmp_path / "b.log"
    log.write_bytes(b"x" * 100)
    keeping = asyncio.create_task(keep_small([tmp_path / "gone.log", log], most_bytes=10, every_s=0.01))
    async with asyncio.timeout(5):
        while log.stat().st_size:  # noqa: ASYNC110  (as `up` looks)
            await asyncio.sleep(0.01)
    keeping.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await keeping
