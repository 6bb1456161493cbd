"""Arms take turns, forwards and backwards."""

from __future__ import annotations

from functools import partial

from loadtests.compute.turns import take_turns


def test_every_second_round_runs_backwards_and_the_first_calls_do_not_count() -> None:
    order: list[str] = []

    def arm(name: str) -> float:
        order.append(name)
        return float(len(order))

    found = take_turns({name: partial(arm, name) for name in "ABC"}, 2)

    assert "".join(order) == "ABC" + "ABC" + "CBA"
    assert found == {"A": [4.0, 9.0], "B": [5.0, 8.0], "C": [6.0, 7.0]}
