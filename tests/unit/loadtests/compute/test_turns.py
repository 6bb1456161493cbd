"""Arms take turns, forwards and backwards."""

from __future__ import annotations

from functools import partial

from loadtests.compute.turns import take_turns


def test_every_second_round_runs_backwards_and_the_first_calls_do_not_count() -> None:
    order: list[str] = []

    def arm(name: str) -> float:
        order.append(name)
        return float(len(order))

    found = take_turns({name: partial(arm, name) for name in "ABC"}, 2, within_s=60)

    assert "".join(order) == "ABC" + "ABC" + "CBA"
    assert found == {"A": [4.0, 9.0], "B": [5.0, 8.0], "C": [6.0, 7.0]}


def test_when_the_time_is_over_no_further_round_begins_but_one_is_always_made() -> None:
    now = [0.0]

    def arm() -> float:
        now[0] += 1
        return now[0]

    for within_s, rounds in ((0.0, 1), (4.0, 1), (4.5, 2), (100.0, 5)):
        now[0] = 0.0
        found = take_turns({"A": arm, "B": arm}, 5, within_s=within_s, clock=lambda: now[0])
        assert [len(values) for values in found.values()] == [rounds] * 2
