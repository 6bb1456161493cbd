"""Is it the job or the stage? The rules, one by one."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from serving.director.stage_health import FIRST_PAUSE_S, LONGEST_PAUSE_S, StageHealth


def _health(chance: float = 1.0) -> StageHealth:
    return StageHealth(lambda: chance)


def test_the_pauses_grow_to_a_bound_and_begin_anew_once_something_is_finished() -> None:
    health, pauses, now = _health(), [], 5.0
    for _ in range(100):
        health.refused("no_replica", "none", now)
        pauses.append(health.next_try - now)
        now = health.next_try
    assert pauses[:4] == pytest.approx([FIRST_PAUSE_S * 2**tries for tries in range(4)])
    assert pauses[-1] == pytest.approx(LONGEST_PAUSE_S)
    health.up()
    health.finished("a")
    health.refused("no_replica", "none", now)
    assert health.next_try - now == pytest.approx(FIRST_PAUSE_S)


def test_calls_that_were_on_their_way_when_the_stage_was_found_away_are_no_tries_and_lengthen_no_pause() -> None:
    health = _health()
    for number in range(60):
        health.refused("no_replica", "none", now=number / 1000)
    assert health.next_try == pytest.approx(FIRST_PAUSE_S)
    for who in "abcdef":
        health.lost(who, 0.1, alone=False, proven=True)
    assert health.next_try == pytest.approx(FIRST_PAUSE_S)


def test_pauses_are_shortened_by_chance_by_half_at_most() -> None:
    for chance in (0.0, 0.5, 1.0):
        health = _health(chance)
        health.refused("full", "", now=0.0)
        assert health.next_try == pytest.approx(FIRST_PAUSE_S * (0.5 + chance / 2))


def test_one_job_that_dies_on_a_stage_that_has_worked_is_to_blame() -> None:
    health = _health()
    assert all(health.lost("a", 0.0, alone=True, proven=True) for _ in range(10))
    assert health.away is None


def test_several_that_die_alone_in_a_row_show_that_it_is_the_stage() -> None:
    health = _health()
    assert health.lost("a", 0.0, alone=True, proven=True)
    assert not health.lost("b", 1.0, alone=True, proven=True)
    assert health.away is not None
    assert (health.away.cause, health.away.since) == ("keeps_ending", 1.0)
    assert not health.lost("a", 2.0, alone=True, proven=True)


def test_a_success_in_between_clears_it() -> None:
    health = _health()
    for who in "abcdef":
        assert health.lost(who, 0.0, alone=True, proven=True)
        health.finished(who)


def test_jobs_that_died_together_prove_nothing() -> None:
    health = _health()
    assert all(health.lost(who, 0.0, alone=False, proven=True) for who in "abcdef")


def test_replicas_that_died_and_nobody_was_at_all_of_them_show_that_it_is_the_stage() -> None:
    health = _health()
    for who, died in (("a", "r1"), ("b", "r1"), ("c", "r2"), ("d", "r2")):
        assert health.lost(who, 0.0, alone=False, proven=True, died=died)
    assert not health.keeps_ending(), "others that were at the second one may not have been told yet"
    assert not health.lost("e", 1.0, alone=False, proven=True, died="r3")
    assert health.away is not None
    assert (health.away.cause, health.away.since) == ("keeps_ending", 1.0)


def test_one_that_was_at_all_deaths_is_to_blame_whoever_was_there_beside_it_and_is_told_first() -> None:
    health = _health()
    for number in range(10):
        died = f"r{number}"
        for who in (f"beside-{number}", f"too-{number}", "harmful"):
            assert health.lost(who, 0.0, alone=False, proven=True, died=died)
    assert health.away is None


def test_a_stage_that_answers_again_is_not_at_fault_by_the_same_deaths_once_more() -> None:
    health = _health()
    for number in range(3):
        health.lost(f"a{number}", 0.0, alone=False, proven=True, died=f"r{number}")
    assert health.up() is not None
    assert health.lost("a", 1.0, alone=False, proven=True, died="r4")


def test_deaths_between_which_something_was_finished_show_nothing_together() -> None:
    health = _health()
    for number in range(10):
        assert health.lost(f"a{number}", 0.0, alone=False, proven=True, died=f"r{2 * number}")
        assert health.lost(f"b{number}", 0.0, alone=False, proven=True, died=f"r{2 * number + 1}")
        health.finished("c")


@pytest.mark.parametrize("over", [lambda health: health.finished("c"), lambda health: health.up()], ids=["done", "up"])
@pytest.mark.parametrize("alone", [False, True], ids=["beside others", "alone"])
def test_a_death_that_is_over_does_not_come_back_when_others_are_told_of_it_late(
    over: Callable[[StageHealth], object], alone: bool
) -> None:
    health = _health()
    assert health.lost("harmful", 0.0, alone=False, proven=True, died="r0")
    over(health)
    assert health.lost("late", 0.0, alone=alone, proven=True, died="r0")
    assert all(health.lost("harmful", 0.0, alone=True, proven=True, died=f"r{number}") for number in range(1, 6))
    assert health.away is None


def test_however_late_one_is_told_a_stage_that_never_worked_blames_nobody() -> None:
    health = _health()
    health.lost("a", 0.0, alone=False, proven=False, died="r")
    health.up()
    assert not health.lost("b", 0.0, alone=True, proven=False, died="r")


def test_one_that_dies_on_a_stage_that_never_worked_cannot_be_blamed() -> None:
    health = _health()
    assert health.lost("a", 0.0, alone=False, proven=False)
    assert not health.lost("a", 0.0, alone=True, proven=False)


def test_who_lost_nothing_there_is_the_better_try() -> None:
    health = _health()
    health.lost("a", 0.0, alone=True, proven=False)
    assert (health.prefers("a"), health.prefers("b")) == (False, True)
    health.up()
    assert not health.prefers("b")


def test_who_lost_nothing_tries_at_once_but_not_again_and_again_while_nobody_takes_the_call() -> None:
    health = _health()
    health.lost("a", 0.0, alone=True, proven=False)
    assert (health.may_try("a", 0.0), health.may_try("b", 0.0)) == (False, True)
    health.refused("full", "", 0.0)
    assert not health.may_try("b", 0.0)
    assert health.may_try("b", health.next_try)
    health.lost("a", 0.0, alone=True, proven=False)
    assert health.may_try("b", 0.0)


def test_who_lost_nothing_does_not_try_at_once_when_another_such_one_has_just_died_too() -> None:
    health = _health()
    health.lost("a", 0.0, alone=True, proven=False)
    health.lost("b", 0.1, alone=True, proven=False)
    assert (health.may_try("c", 0.1), health.may_try("c", health.next_try)) == (False, True)
    health.lost("a", 0.1, alone=True, proven=False)
    assert health.may_try("c", 0.1)


def test_between_two_ends_of_its_workers_no_replica_is_up_and_that_explains_nothing() -> None:
    health = _health()
    health.lost("a", 0.0, alone=True, proven=False)
    health.refused("no_replica", "none", 1.0)
    assert health.away is not None
    assert health.away.cause == "keeps_ending"


@pytest.mark.parametrize(("who", "acquittals"), [("c", 1), ("a", 0)])
def test_the_stage_is_acquitted_by_one_who_gets_through_and_had_lost_nothing(who: str, acquittals: int) -> None:
    health = _health()
    for lost in "ab":
        health.lost(lost, 0.0, alone=True, proven=True)
    health.up()
    for finished in (who, "d"):
        health.finished(finished)
    assert health.acquittals == acquittals
