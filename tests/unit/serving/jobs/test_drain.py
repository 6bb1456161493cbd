"""Waiting for what runs: it ends with those jobs, or with the time that was given."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from typer.testing import CliRunner

from serving.cli.main import build
from serving.jobs import drain as drain_module
from serving.jobs.drain import drain
from serving.jobs.record import JobState
from serving.jobs.repository import Jobs
from serving.store.open import open_store
from tests.unit.serving.jobs.test_repository import record

pytestmark = pytest.mark.anyio


async def test_what_runs_is_waited_for_and_what_comes_later_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drain_module, "_LOOK_EVERY_S", 0.01)
    store = await open_store(str(tmp_path), probe=False)
    jobs = Jobs(store)
    runs = await jobs.transition((await jobs.create(record())).record, state=JobState.RUNNING)
    await jobs.create(record())  # it waits

    waiting = asyncio.create_task(drain(jobs, 60))
    await asyncio.sleep(0.1)
    later = await jobs.transition((await jobs.create(record())).record, state=JobState.RUNNING)
    again = await jobs.transition(runs, state=JobState.QUEUED)  # its replica was lost
    await asyncio.sleep(0.1)
    assert not waiting.done()
    running = await jobs.transition(again, state=JobState.RUNNING)
    await jobs.transition(running, state=JobState.CANCELLED)

    assert (await waiting).ended == 1
    assert (await drain(jobs, 0.05)).left == (("a", later.id),)
    await store.close()


async def test_nothing_that_runs_is_no_wait(tmp_path: Path) -> None:
    store = await open_store(str(tmp_path), probe=False)
    await Jobs(store).create(record())
    assert (await drain(Jobs(store), 60)).ended == 0
    await store.close()


def test_the_command_says_what_still_runs(tmp_path: Path) -> None:
    async def running() -> str:
        store = await open_store(str(tmp_path), probe=False)
        jobs = Jobs(store)
        made = await jobs.transition((await jobs.create(record())).record, state=JobState.RUNNING)
        await store.close()
        return made.id

    job = asyncio.run(running())
    done = CliRunner().invoke(build(), ["jobs", "drain", "--within", "1s", "--store", str(tmp_path)])
    assert (done.exit_code, f"1 of 1 jobs still run after 1s, {job} among them" in done.stderr) == (1, True)
