"""When a job is expected to start and to end: its own work, its tenant's queue, the shares of the others."""

from __future__ import annotations

from typing import Any

import pytest

from serving.estimates import Estimates, save
from serving.frontdoor.admission.backlog import Backlog
from serving.frontdoor.admission.forecast import Forecast, alone_s
from serving.jobs.history import Prediction
from serving.jobs.record import JobRecord, JobState
from serving.jobs.repository import Jobs
from serving.stage_names import DENOISER, RENDERER
from serving.store import keys
from serving.store.base import Store
from tests.unit.serving.conftest import Clock
from tests.unit.serving.frontdoor.builders import record

pytestmark = pytest.mark.anyio
STEP_S, RENDERED_S = 0.5, 0.2


async def _learnt(store: Store) -> None:
    """Every job of the builder has 2 segments of 4 steps: 4 s of steps, and 0.2 s to render the last one."""
    known = Estimates()
    for segment in record().plan.segments:
        known.observe(DENOISER, record().plan, segment, STEP_S)
        known.observe(RENDERER, record().plan, segment, RENDERED_S)
    await save(store, known)


def _job(letter: str, **changes: Any) -> JobRecord:
    return record("vid_" + letter * 26, **changes)


class _Asked:
    """What is asked for now, by a tenant."""

    def __init__(
        self, store: Store, clock: Clock, *, servers: int = 1, weights: dict[str, float] | None = None
    ) -> None:
        backlog = Backlog(Jobs(store), clock=clock.seconds)
        self._clock = clock
        self._forecast = Forecast(
            store, backlog, servers=lambda _: servers, now_ms=clock.now_ms, weights=weights, clock=clock.seconds
        )

    async def times(
        self, *, tenant: str = "default", priority: int = 5, deadline_ms: int | None = None
    ) -> tuple[float, float]:
        """Seconds until it starts and until it is done."""
        found = await self._forecast.of(record().plan, tenant=tenant, priority=priority, deadline_ms=deadline_ms)
        return self._relative(found)

    async def expected(self, *records: JobRecord) -> dict[str, tuple[float, float]]:
        found = await self._forecast.expected(records)
        return {name[4]: self._relative(prediction) for name, prediction in found.items()}

    def _relative(self, found: Prediction) -> tuple[float, float]:
        now = self._clock.now_ms()
        return (found.start_ms - now) / 1000, (found.end_ms - now) / 1000


async def test_an_empty_queue_leaves_the_work_alone(store: Store, clock: Clock) -> None:
    await _learnt(store)
    assert await _Asked(store, clock).times() == pytest.approx((0, 4.2))
    known = Prediction(start_ms=0, end_ms=0, seconds={DENOISER: 4.0, RENDERER: 0.4})
    assert alone_s(known, record().plan) == pytest.approx(4.2)


async def test_more_urgent_jobs_of_the_same_tenant_go_first_and_less_urgent_ones_do_not(
    store: Store, clock: Clock
) -> None:
    await _learnt(store)
    jobs = Jobs(store)
    for letter, priority in (("a", 2), ("b", 5), ("c", 5), ("d", 9)):
        await jobs.create(_job(letter, priority=priority))
    asked = _Asked(store, clock)
    assert await asked.times(priority=5) == pytest.approx((12, 16.2))
    assert await asked.times(priority=2) == pytest.approx((4, 8.2))
    assert await asked.times(priority=1) == pytest.approx((0, 4.2))


async def test_what_is_due_later_is_not_in_the_way_of_a_deadline(store: Store, clock: Clock) -> None:
    await _learnt(store)
    jobs, now = Jobs(store), clock.now_ms()
    await jobs.create(_job("a", deadline_ms=now + 10_000))
    await jobs.create(_job("b", deadline_ms=now + 90_000))
    asked = _Asked(store, clock)
    assert (await asked.times(deadline_ms=now + 20_000))[0] == pytest.approx(4)
    assert (await asked.times())[0] == pytest.approx(8)


async def test_another_tenant_gets_its_share_and_no_more(store: Store, clock: Clock) -> None:
    await _learnt(store)
    jobs = Jobs(store)
    for number in range(20):
        await jobs.create(_job("abcdefghijklmnopqrst"[number], tenant="neighbour"))
    assert await _Asked(store, clock).times() == pytest.approx((0, 8.2))
    assert await _Asked(store, clock, weights={"default": 4.0}).times() == pytest.approx((0, 5.2))
    assert await _Asked(store, clock).times(priority=0) == pytest.approx((0, 4.2))
    # 20 jobs of 4 s are ahead of a neighbour's own, and nothing of ours: nobody takes a share of what is not there.
    assert await _Asked(store, clock).times(tenant="neighbour") == pytest.approx((80, 84.2))


async def test_more_denoisers_shorten_the_queue_but_no_job(store: Store, clock: Clock) -> None:
    await _learnt(store)
    await Jobs(store).create(_job("a"))
    assert await _Asked(store, clock, servers=4).times() == pytest.approx((1, 5.2))


async def test_a_queue_is_told_in_the_order_in_which_it_goes(store: Store, clock: Clock) -> None:
    await _learnt(store)
    begun = clock.now_ms() - 2000
    runs = _job("r", state=JobState.RUNNING, steps_done=4, started_ms=begun, created_ms=9)
    old, new, urgent = _job("o", created_ms=1), _job("n", created_ms=2), _job("u", priority=1, created_ms=3)
    found = await _Asked(store, clock).expected(new, old, urgent, runs)
    assert found["r"] == pytest.approx((-2, 2.2))
    assert found["u"] == pytest.approx((2, 6.2))
    assert found["o"] == pytest.approx((6, 10.2))
    assert found["n"] == pytest.approx((10, 14.2))


async def test_estimates_that_cannot_be_read_keep_nobody_from_asking(store: Store, clock: Clock) -> None:
    asked, unlearnt = _Asked(store, clock), _Asked(store, clock)
    guessed = await unlearnt.times()
    await _learnt(store)
    assert await asked.times() == pytest.approx((0, 4.2))

    learnt = await store.get(keys.ESTIMATES)
    await store.swap(keys.ESTIMATES, b'[["denoiser", "d", 100, 1.0, "of a later version"]]', learnt.version)
    clock.pass_s(60)
    assert await asked.times() == pytest.approx((0, 4.2)), "what was known last"
    assert await unlearnt.times() == pytest.approx(guessed)
