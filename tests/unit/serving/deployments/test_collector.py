"""The collector's process: it collects, its failures are counted, and it ends with whoever started it."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import textwrap
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from serving.deployments import collector
from serving.deployments.collector import CollectorProcess
from serving.local.parts import environment_of
from serving.metrics import COLLECTED_KEYS, COLLECTIONS, Metric, Unrecorded
from serving.settings import Settings
from serving.store import keys
from serving.store.directory import DirectoryStore

pytestmark = pytest.mark.anyio


class Counted(Unrecorded):
    def __init__(self) -> None:
        self.counts: Counter[tuple[str, ...]] = Counter()

    def add(self, metric: Metric, amount: float = 1.0, /, **labels: str) -> None:
        self.counts[metric.name, *labels.values()] += round(amount)


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return environment_of(Settings(store=str(tmp_path / "store")))


@asynccontextmanager
async def kept(process: CollectorProcess) -> AsyncIterator[None]:
    task = asyncio.create_task(process.keep())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})


async def until(counts: Counter[tuple[str, ...]], key: tuple[str, ...], times: int = 1) -> None:
    async with asyncio.timeout(60):
        while counts[key] < times:  # noqa: ASYNC110  (a counter tells nobody)
            await asyncio.sleep(0.05)


def children() -> set[int]:
    return {int(pid) for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()}


async def test_it_collects_says_so_and_leaves_nothing_behind(tmp_path: Path, environment: dict[str, str]) -> None:
    store = DirectoryStore(tmp_path / "store")
    await store.open()
    await store.put_if_absent(keys.probe("1ef7", "race"), b"of a probe that was killed")
    old = 1_700_000_000
    (left,) = (path for path in (tmp_path / "store").rglob("race") if path.is_file())
    os.utime(left, (old, old))
    metrics, before = Counted(), children()

    async with kept(CollectorProcess(environment, metrics)):
        await until(metrics.counts, (COLLECTIONS.name, "done"))

    assert metrics.counts[COLLECTED_KEYS.name, "leftovers"] == 1
    assert [entry.key async for entry in store.list("probe/")] == []
    assert children() <= before
    await store.close()


async def test_one_that_keeps_ending_is_counted_and_started_again(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collector, "FIRST_PAUSE_S", 0.01)
    metrics, before = Counted(), children()

    async with kept(CollectorProcess(environment, metrics, ("-c", "print('no JSON'); raise SystemExit(3)"))):
        await until(metrics.counts, (COLLECTIONS.name, "crashed"), times=3)

    assert children() <= before


async def test_it_ends_when_its_parent_is_killed(environment: dict[str, str]) -> None:
    program = textwrap.dedent("""
        import asyncio, os
        from serving.deployments.collector import CollectorProcess
        from serving.metrics import Unrecorded
        asyncio.run(CollectorProcess(os.environ, Unrecorded()).keep())
    """)
    parent = await asyncio.create_subprocess_exec(sys.executable, "-c", program, env=environment)
    try:
        async with asyncio.timeout(60):
            while not (found := _children_of(parent.pid)):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
    finally:
        parent.send_signal(signal.SIGKILL)
        await parent.wait()
    async with asyncio.timeout(60):
        while any(Path(f"/proc/{pid}").exists() and not _zombie(pid) for pid in found):  # noqa: ASYNC110
            await asyncio.sleep(0.05)


def _children_of(pid: int) -> set[int]:
    return {int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}


def _zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True
