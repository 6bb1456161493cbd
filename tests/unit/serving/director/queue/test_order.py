"""The order of work."""

from __future__ import annotations

from serving.director.queue.order import Work, arrange, due_ms, to_start
from serving.director.queue.shares import Shares
from tests.unit.serving.director.queue.works import NOW, arranged, names_of, present, work_of


def test_the_job_that_is_due_first_goes_first() -> None:
    assert names_of(arranged(work_of("late", due=9), work_of("soon", due=3), work_of("between", due=6))) == [
        "soon",
        "between",
        "late",
    ]


def test_priority_goes_before_deadlines() -> None:
    assert names_of(arranged(work_of("due", due=3), work_of("urgent", due=90, priority=0))) == ["urgent", "due"]


def test_when_not_all_can_be_in_time_the_longest_one_is_left_out_and_told() -> None:
    ranked = arranged(work_of("long", 5, due=6), work_of("one", 2, due=7), work_of("two", 2, due=8))

    assert names_of(ranked) == ["one", "two", "long"]
    assert [placed.hopeless for placed in ranked] == [False, False, True]


def test_each_place_says_why() -> None:
    running = work_of("running", due=3)._replace(running=True)

    ranked = arranged(work_of("lost", 5, due=1), work_of("second", due=9), running, work_of("first", due=6))

    assert [(placed.work.job, placed.why) for placed in ranked] == [
        ("running", "running"),
        ("first", "next"),
        ("second", "waits its turn"),
        ("lost", "cannot be in time"),
    ]


def test_who_waits_for_those_that_had_less_is_told_so_while_it_runs_too() -> None:
    shares = Shares(lag_s=1.0)
    present(shares, ["ahead", "behind"])
    shares.charge("ahead", 1.5)
    running = work_of("x", due=60, tenant="ahead")._replace(running=True)

    ranked = arranged(
        running, work_of("y", due=60, tenant="ahead"), work_of("z", due=60, tenant="behind"), shares=shares
    )

    assert {placed.work.job: placed.why for placed in ranked} == {
        "z": "next",
        "x": "over its share",
        "y": "over its share",
    }


def test_what_is_late_on_its_own_makes_nobody_else_late() -> None:
    assert names_of(arranged(work_of("lost", 5, due=1), work_of("fine", 2, due=7))) == ["fine", "lost"]


def test_two_servers_can_be_in_time_with_what_one_cannot() -> None:
    jobs = [work_of("one", 3, due=5), work_of("two", 3, due=5)]

    assert [placed.hopeless for placed in arranged(*jobs)] == [False, True]
    assert [placed.hopeless for placed in arranged(*jobs, servers=2)] == [False, False]


def test_a_tenant_that_is_ahead_waits_while_another_has_work() -> None:
    shares = Shares(lag_s=1.0)
    present(shares, ["ahead", "behind"])
    shares.charge("ahead", 1.5)

    ranked = arranged(work_of("x", due=3, tenant="ahead"), work_of("y", due=60, tenant="behind"), shares=shares)

    assert names_of(ranked) == ["y", "x"]


def test_within_the_lag_deadlines_decide() -> None:
    shares = Shares(lag_s=1.0)
    present(shares, ["ahead", "behind"])
    shares.charge("ahead", 0.9)

    ranked = arranged(work_of("x", due=3, tenant="ahead"), work_of("y", due=60, tenant="behind"), shares=shares)

    assert names_of(ranked) == ["x", "y"]


def test_a_tenant_that_is_ahead_does_not_yield_where_that_would_make_its_job_late() -> None:
    shares = Shares(lag_s=1.0)
    present(shares, ["ahead", "behind"])
    shares.charge("ahead", 1.5)
    jobs = work_of("tight", due=2, tenant="ahead"), work_of("loose", due=9, tenant="ahead")

    ranked = arranged(*jobs, work_of("y", 2, due=60, tenant="behind"), shares=shares)

    assert names_of(ranked) == ["tight", "y", "loose"]


def test_far_ahead_it_yields_in_any_case() -> None:
    shares = Shares(lag_s=1.0)
    present(shares, ["ahead", "behind"])
    shares.charge("ahead", 5.0)

    ranked = arranged(work_of("x", due=2, tenant="ahead"), work_of("y", 2, due=60, tenant="behind"), shares=shares)

    assert names_of(ranked) == ["y", "x"]


def test_a_flood_of_short_jobs_does_not_push_a_neighbours_long_one_out() -> None:
    flood = [work_of(f"short-{number}", 1, due=20, tenant="flood") for number in range(30)]
    long = work_of("long", 9, due=20, tenant="quiet")

    ranked = {placed.work.job: placed for placed in arranged(*flood, long)}

    assert not ranked["long"].hopeless
    assert sum(not placed.hopeless for placed in ranked.values()) == 1 + 11, "and the rest of the time is used"


def test_an_urgent_job_is_first_though_its_tenant_is_somewhat_ahead() -> None:
    shares = Shares(lag_s=1.0)
    present(shares, ["ahead", "behind"])
    shares.charge("ahead", 3.0)

    ranked = arranged(work_of("x", tenant="ahead", priority=0), work_of("y", tenant="behind"), shares=shares)

    assert names_of(ranked) == ["x", "y"]


def test_marking_everything_urgent_beats_the_others_only_up_to_a_bound() -> None:
    shares = Shares(lag_s=1.0)
    present(shares, ["ahead", "behind"])
    shares.charge("ahead", 5.0)

    ranked = arranged(work_of("x", tenant="ahead", priority=0), work_of("y", tenant="behind"), shares=shares)

    assert names_of(ranked) == ["y", "x"]


def test_of_two_equals_the_one_that_runs_goes_on() -> None:
    assert names_of(arranged(work_of("a", due=9), work_of("b", due=9)._replace(running=True))) == ["b", "a"]


def test_a_job_without_a_deadline_is_due_after_a_multiple_of_its_work_and_again_when_that_has_passed() -> None:
    fresh = work_of("fresh", 2.0)
    old = work_of("old", 2.0, created=NOW - 60_000)

    assert due_ms(fresh, NOW) == NOW + 4_100
    assert due_ms(old, NOW) == NOW - 60_000 + 16 * 4_100


def test_the_overdue_have_a_turn_of_their_own() -> None:
    jobs = [work_of("short", 1, due=3), work_of("overdue", 1, due=-1), work_of("expires", 9, due=5)]

    assert names_of(arranged(*jobs))[0] == "short"
    assert names_of(arrange(jobs, now_ms=NOW - 1, shares=Shares()))[0] == "overdue"


def test_an_urgent_job_goes_before_that_turn() -> None:
    jobs = [work_of("urgent", priority=0), work_of("overdue", 1, due=-1)]

    assert names_of(arrange(jobs, now_ms=NOW - 1, shares=Shares())) == ["urgent", "overdue"]


# ── whom to start ───────────────────────────────────────────────────────────────────────────────────────────────────


def _to_start(*work: Work, slots: int) -> list[str]:
    return names_of(to_start(arranged(*work), slots=slots))


def test_those_among_the_first_that_do_not_run_are_started() -> None:
    jobs = [work_of(str(number), due=100 + number) for number in range(6)]
    jobs[1] = jobs[1]._replace(running=True)

    assert _to_start(*jobs, slots=4) == ["0", "2", "3"]


def test_jobs_that_were_overtaken_run_on_up_to_a_bound_that_urgent_ones_ignore() -> None:
    overtaken = [work_of(f"overtaken-{number}", due=900)._replace(running=True) for number in range(8)]

    assert _to_start(*overtaken[:7], work_of("new", due=5), slots=2) == ["new"]
    assert _to_start(*overtaken, work_of("new", due=5), slots=2) == []
    assert _to_start(*overtaken, work_of("new", due=5, priority=0), slots=2) == ["new"]


def test_one_tenants_overtaken_jobs_keep_no_other_out() -> None:
    overtaken = [work_of(f"overtaken-{number}", due=900)._replace(running=True) for number in range(8)]

    assert _to_start(*overtaken, work_of("new", due=5, tenant="b"), slots=2) == ["new"]
