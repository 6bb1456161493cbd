"""Which jobs start next."""

from __future__ import annotations

from collections.abc import Mapping

from serving.director.queue import NO_DEADLINE, Waiting, choose


def _job(name: str, *, tenant: str = "a", priority: int = 5, since: int = 0, **fields: float) -> Waiting:
    return Waiting(tenant, name, priority, int(fields.pop("deadline", NO_DEADLINE)), since, **fields)


def _order(
    *waiting: Waiting, running: Mapping[str, int] = {}, served: Mapping[str, int] = {}, slots: int = 9
) -> list[str]:
    chosen = choose(waiting, running=running, served=served, slots=slots, now=100.0)
    return [job.job for job in chosen]


def test_within_a_tenant_priority_goes_before_deadline_and_deadline_before_age() -> None:
    old, urgent, due = _job("old", since=1), _job("urgent", since=9, priority=1), _job("due", since=5, deadline=7)

    assert _order(old, urgent, due) == ["urgent", "due", "old"]


def test_tenants_take_turns() -> None:
    crowd = [_job(f"crowd-{i}", tenant="crowd", since=i) for i in range(3)]

    assert _order(*crowd, _job("quiet", tenant="quiet", since=99), slots=2) == ["crowd-0", "quiet"]


def test_a_tenant_with_running_jobs_waits_for_one_with_none() -> None:
    assert _order(_job("one", tenant="busy"), _job("two", tenant="idle"), running={"busy": 1}, slots=1) == ["two"]


def test_the_tenant_that_was_served_longest_ago_is_next() -> None:
    assert _order(_job("one"), _job("two", tenant="b"), served={"a": 4, "b": 2}, slots=1) == ["two"]


def test_a_job_that_failed_just_now_is_left_out_for_a_while() -> None:
    assert _order(_job("later", not_before=100.5), _job("now", since=5)) == ["now"]
    assert _order(_job("ready", not_before=100.0)) == ["ready"]


def test_no_more_than_the_free_slots_are_given() -> None:
    jobs = [_job(str(i), since=i) for i in range(5)]

    assert _order(*jobs, slots=2) == ["0", "1"]
    assert _order(*jobs, slots=0) == []
