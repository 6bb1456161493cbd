"""The count of active jobs: near enough for a bound, and cheap."""

from __future__ import annotations

import pytest

from serving.frontdoor.backlog import INTERVAL_S, Backlog
from serving.jobs.record import JobState
from serving.jobs.repository import Jobs
from serving.store.base import Store
from tests.unit.serving.frontdoor.builders import record
from tests.unit.serving.frontdoor.conftest import Clock

pytestmark = pytest.mark.anyio


async def test_own_creates_count_at_once_and_ended_jobs_leave_at_the_next_listing(store: Store, clock: Clock) -> None:
    jobs = Jobs(store)
    backlog = Backlog(jobs, clock=clock.seconds)
    first = await jobs.create(record())
    await jobs.create(record("vid_" + "b" * 26, tenant="other"))
    assert await backlog.active("default") == 1

    backlog.accepted("default")
    assert await backlog.active("default") == 2
    assert await backlog.active("other") == 1

    await jobs.retire(await jobs.transition(first, state=JobState.CANCELLED))
    assert await backlog.active("default") == 2
    clock.pass_s(INTERVAL_S)
    assert await backlog.active("default") == 0
