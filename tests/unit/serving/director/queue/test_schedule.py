"""Whom the Director starts, how it ranks what runs, and how it sees its backlog."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from engines import models
from serving.director.queue import schedule as module
from serving.director.queue.backlog import backlogs
from serving.director.queue.in_hand import InHand
from serving.director.queue.order import OVERFULL, Why
from serving.director.queue.schedule import LAST, Capacity, Schedule
from serving.director.queue.waiting import WaitingJobs
from serving.estimates import Course, Estimates
from serving.jobs.active import Active
from serving.jobs.record import JobRecord
from serving.plan import plan
from serving.requests import VideoRequest
from serving.stage_names import DENOISER, RENDERER, StageName

MODEL = "sprite-2"
NOW = 1_700_000_000_000
_numbers = itertools.count()


def job(tenant: str = "studio", *, seconds: int = 2, **fields: Any) -> JobRecord:
    request = VideoRequest(model=MODEL, seconds=seconds, aspect_ratio="1:1", resolution="480p", steps=10)
    planned = plan(request, models.family(MODEL).capabilities, model_digest="d" * 64, seed=1)
    name = f"vid_{next(_numbers):04d}"
    return JobRecord(id=name, tenant=tenant, request=request, plan=planned, created_ms=NOW, **fields)


def learnt() -> Estimates:
    """A step takes 0.1 s, rendering a segment 0.5 s."""
    estimates, like = Estimates(), job().plan
    for segment in like.segments:
        estimates.observe(DENOISER, like, segment, 0.1)
        estimates.observe(RENDERER, like, segment, 0.5)
    return estimates


def schedule(*, slots: int = 2, weights: dict[str, float] | None = None) -> Schedule:
    return Schedule(
        weights=weights or {}, models={MODEL: Capacity(slots, servers=1)}, estimates=learnt(), now_ms=lambda: NOW
    )


def in_hand(*records: JobRecord, steps: int = 0) -> list[InHand]:
    """Jobs that run, so many steps after what their records count."""
    return [InHand(record, Course.of(record.plan, record.steps_done + steps)) for record in records]


def line(*records: JobRecord) -> WaitingJobs:
    waiting = WaitingJobs()
    for record in records:
        waiting.put(record)
    return waiting


def backlog(waiting: WaitingJobs, running: list[InHand]) -> dict[StageName, float]:
    return backlogs([MODEL], waiting, running, learnt())[MODEL].seconds


def test_only_so_many_start_as_there_are_slots() -> None:
    waiting = line(*(job() for _ in range(5)))
    assert len(schedule().choose(waiting, [])) == 2
    assert schedule().choose(line(*(job() for _ in range(5))), in_hand(job(), job())) == []


def of(model: str, record: JobRecord) -> JobRecord:
    """The same job of another model."""
    return record.model_copy(update={"plan": record.plan.model_copy(update={"model": model})})


def schedule_of_two(*, slots: int = 2) -> Schedule:
    capacities = {MODEL: Capacity(slots, servers=1), "other-1": Capacity(slots, servers=1)}
    return Schedule(weights={}, models=capacities, estimates=learnt(), now_ms=lambda: NOW)


def test_each_model_has_slots_and_they_are_filled_in_turn() -> None:
    jobs = [job() for _ in range(5)]
    waiting = line(*(of("other-1", one) for one in jobs), *(job() for _ in range(5)), of("gone-1", job()))
    chosen = schedule_of_two().choose(waiting, in_hand(of("other-1", job())))
    assert [start.model for start in chosen] == ["other-1", MODEL, MODEL]
    assert [start.job.model for start in chosen] == ["other-1", MODEL, MODEL]


def test_what_a_tenant_was_given_of_one_model_counts_where_it_wants_another() -> None:
    order, greedy, modest = schedule_of_two(slots=1), job("greedy"), of("other-1", job("modest", seconds=15))
    wants = of("other-1", job("greedy"))
    waiting = line(wants, modest)
    assert [start.job.tenant for start in order.choose(waiting, in_hand(greedy))] == ["greedy"], "it is due sooner"
    order.measured(DENOISER, greedy, greedy.plan.segments[0], 10, 10.0)
    assert [start.job.tenant for start in order.choose(waiting, in_hand(greedy))] == ["modest"]
    assert order.whys["other-1"][wants.key] is Why.OVER_SHARE


def test_a_job_that_waits_for_others_keeps_none_of_them_out_and_not_all_come_in_for_it() -> None:
    stuck = [held._replace(waits_for_others=True) for held in in_hand(*(job() for _ in range(12)))]
    waiting = line(*(job() for _ in range(5)))
    assert len(schedule().choose(waiting, stuck[:8])) == 2
    assert len(schedule().choose(waiting, stuck[:9])) == 1
    assert schedule().choose(waiting, stuck) == []


def test_a_job_that_is_being_claimed_has_its_slot_and_is_chosen_no_more() -> None:
    order, waiting = schedule(), line(*(job() for _ in range(5)))
    starting = {chosen.job.key: chosen for chosen in order.choose(waiting, [])}
    assert len(starting) == 2
    assert order.choose(waiting, [], starting) == []
    (first, _) = starting
    waiting.take(first)
    assert order.choose(waiting, [], starting) == []
    del starting[first]
    (other,) = order.choose(waiting, [], starting)
    assert other.job.key not in starting


def test_an_urgent_job_starts_though_the_slots_are_taken_and_ranks_first() -> None:
    running, urgent = [job(seconds=15), job(seconds=15)], job(priority=0)
    order = schedule()

    (first,) = order.choose(line(urgent), in_hand(*running))

    assert first.job.key == (urgent.tenant, urgent.id)
    assert order.rank(urgent) < min(order.rank(record) for record in running)


def test_what_a_tenant_has_running_is_bounded_and_keeps_no_other_out() -> None:
    running = in_hand(*(job("greedy", seconds=15) for _ in range(2 * OVERFULL)))
    assert schedule().choose(line(job("greedy", seconds=1)), running) == []
    (first,) = schedule().choose(line(job("greedy", seconds=1), job("modest", seconds=1)), running)
    assert first.job.tenant == "modest"
    (first,) = schedule().choose(line(job("greedy", priority=0)), running)
    assert first.job.priority == 0


def test_a_deadline_leaves_room_for_rendering_the_last_segment() -> None:
    """2 s of steps and 0.5 s of rendering: 2.4 s are too short, and then it does not stand in the other's way."""
    order, late, sound = schedule(slots=1), job(deadline_ms=NOW + 2400), job(deadline_ms=NOW + 4900)
    (first,) = order.choose(line(late, sound), [])
    assert first.job.job == sound.id


@pytest.mark.parametrize("stage", [DENOISER, RENDERER])
def test_a_heavy_user_of_any_stage_steps_back_behind_one_that_got_less(stage: StageName) -> None:
    order, greedy, modest = schedule(slots=2), job("greedy"), job("modest", seconds=15)
    order.choose(line(modest), in_hand(greedy))
    assert order.rank(greedy) < order.rank(modest), "it is due sooner"
    for _ in range(10):
        order.measured(stage, greedy, greedy.plan.segments[0], 10, 1.0)
    order.choose(line(modest), in_hand(greedy))
    assert order.rank(modest) < order.rank(greedy)


def test_ranks_that_are_made_anew_compare_with_those_of_jobs_that_were_just_chosen() -> None:
    order, begun, urgent, late = schedule(slots=3), job(seconds=4), job(priority=0), job(deadline_ms=NOW + 1000)
    order.choose(line(urgent, late), in_hand(begun))

    order.rerank(in_hand(begun))

    assert order.rank(urgent) < order.rank(begun) < order.rank(late) < LAST


def test_a_job_that_is_nearly_done_is_not_taken_for_one_that_cannot_be_in_time() -> None:
    """4 s of steps, of which the record counts none while 0.5 s are left, in time for a deadline in 1.5 s."""
    order, nearly, other = schedule(), job(seconds=4, deadline_ms=NOW + 1500), job(deadline_ms=NOW + 60_000)

    order.choose(line(), in_hand(nearly, steps=35))
    assert order.whys[MODEL][nearly.key] is Why.RUNNING
    order.rerank([*in_hand(nearly, steps=35), *in_hand(other)])
    assert order.rank(nearly) < order.rank(other)

    order.choose(line(), in_hand(nearly))
    assert order.whys[MODEL][nearly.key] is Why.LATE, "untouched it could not be"


def test_a_job_that_was_never_ordered_ranks_last() -> None:
    assert schedule().rank(job()) == LAST


def test_the_backlog_is_what_waits_and_what_is_left_of_what_runs() -> None:
    """A running job has 13 of 20 steps, and a segment of two that is not rendered."""
    running = in_hand(job(steps_done=10, segments=("a" * 64,)), steps=3)
    found = backlog(line(job()), running)
    assert found["denoiser"] == pytest.approx(2.0 + 0.7)
    assert found["renderer"] == pytest.approx(1.0 + 0.5)
    assert all(seconds > 0 for seconds in found.values())
    assert not any(backlog(line(), []).values())


def test_unread_jobs_count_like_the_others() -> None:
    waiting = line(job())
    waiting.found(Active("studio", "vid_unread", 5, None), NOW)
    assert backlog(waiting, [])["denoiser"] == pytest.approx(4.0)


def test_a_tenant_whose_jobs_all_pause_or_are_gone_has_no_work() -> None:
    """While it has none, another one's lead over it holds nobody back."""
    order, quiet, busy = schedule(), job("quiet"), job("busy")
    waiting = line(quiet, busy)
    order.choose(waiting, [])
    order.measured(DENOISER, busy, busy.plan.segments[0], 10, 9.0)
    order.choose(waiting, [])
    assert order.whys[MODEL][busy.key] is Why.OVER_SHARE

    paused = waiting.take(quiet.key)
    assert paused is not None
    waiting.again(paused, 10.0)
    order.choose(waiting, [])
    assert order.whys[MODEL] == {busy.key: Why.NEXT}


def test_why_jobs_wait_is_told_of_as_many_of_each_tenant_and_of_a_bounded_number(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MOST_TOLD", 6)
    crowd, quiet = [job("crowd") for _ in range(20)], [job("quiet") for _ in range(2)]
    order = schedule()

    order.choose(line(*crowd, *quiet), [])

    assert sum(tenant == "crowd" for tenant, _ in order.whys[MODEL]) == 3
    assert {key for key in order.whys[MODEL] if key[0] == "quiet"} == {record.key for record in quiet}
    assert list(order.whys[MODEL].values()).count(Why.NEXT) == 1
