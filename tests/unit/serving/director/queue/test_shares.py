"""The ledger of served work."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.director.queue.shares import CREDIT_LAGS, REMEMBERED, Shares
from tests.unit.serving.director.queue.works import present


def test_a_tenant_of_twice_the_weight_ages_half_as_fast() -> None:
    shares = Shares({"heavy": 2.0})
    present(shares, ["heavy", "light"])
    start = shares.virtual("light")

    shares.charge("heavy", 4.0)
    shares.charge("light", 4.0)

    assert shares.virtual("heavy") - start == 2.0
    assert shares.virtual("light") - start == 4.0


@pytest.mark.parametrize("weight", [0.0, -1.0, float("nan")])
def test_a_weight_that_is_none_is_refused(weight: float) -> None:
    with pytest.raises(ValueError, match="greater than 0"):
        Shares({"a": weight})


def test_a_newcomer_begins_a_credit_before_the_present_minimum_however_much_was_served_before() -> None:
    shares = Shares(lag_s=1.0)
    shares.arrived("busy")
    shares.charge("busy", 1000.0)

    shares.arrived("new")

    assert shares.virtual("busy") - shares.virtual("new") == CREDIT_LAGS


def test_one_newcomers_credit_gives_the_next_one_no_more() -> None:
    shares = Shares(lag_s=1.0)
    shares.arrived("busy")
    shares.charge("busy", 1000.0)
    for name in ("first", "second", "third"):
        shares.arrived(name)

    assert shares.virtual("first") == shares.virtual("second") == shares.virtual("third")


def test_leaving_and_coming_back_at_once_gains_nothing() -> None:
    shares = Shares(lag_s=1.0)
    present(shares, ["stays", "hops"])
    shares.charge("hops", 5.0)
    before = shares.virtual("hops")

    shares.left("hops")
    shares.arrived("hops")

    assert shares.virtual("hops") == before


def test_who_had_an_idle_machine_to_himself_pays_nothing_for_it_later() -> None:
    shares = Shares(lag_s=1.0)
    shares.arrived("alone")
    shares.charge("alone", 1000.0)
    present(shares, [])

    present(shares, ["alone", "other"])

    assert shares.virtual("alone") - shares.virtual("other") == CREDIT_LAGS


def test_tenants_that_come_and_go_are_not_remembered_for_ever() -> None:
    shares = Shares()
    shares.arrived("stays")
    for number in range(3 * REMEMBERED):
        shares.arrived(f"passes-{number}")
        shares.charge(f"passes-{number}", 1.0)
        shares.left(f"passes-{number}")

    assert shares.remembered <= REMEMBERED + 1


def test_of_those_away_the_ones_furthest_ahead_are_remembered() -> None:
    shares = Shares()
    shares.arrived("stays")
    shares.charge("greedy", 50.0)
    ahead = shares.virtual("greedy")
    for number in range(2 * REMEMBERED):
        shares.charge(f"passes-{number}", 1.0)

    assert shares.virtual("greedy") == ahead


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("charge"), st.sampled_from("abcd"), st.floats(0, 100)),
            st.tuples(st.just("present"), st.sets(st.sampled_from("abcd")), st.just(0.0)),
        ),
        max_size=40,
    )
)
def test_nobody_ever_stands_further_behind_the_present_minimum_than_the_credit(
    events: list[tuple[str, str | set[str], float]],
) -> None:
    shares = Shares(lag_s=1.0)
    there: set[str] = set()
    for what, who, seconds in events:
        before = {name: shares.virtual(name) for name in "abcd"}
        if what == "charge":
            shares.charge(str(who), seconds)
        else:
            there = set(who)
            present(shares, there)
        assert all(shares.virtual(name) >= before[name] for name in "abcd"), "virtual time never runs backwards"
        if there:
            lowest = min(shares.virtual(name) for name in there)
            assert all(shares.virtual(name) >= lowest - CREDIT_LAGS for name in "abcd")


def test_whoever_comes_back_when_it_was_forgotten_has_its_place_like_a_newcomer() -> None:
    shares = Shares()
    present(shares, ["stays"])
    for number in range(REMEMBERED + 1):
        shares.arrived(f"passes-{number}")
        shares.charge(f"passes-{number}", 10.0 + number)
        shares.left(f"passes-{number}")
    shares.charge("stays", 5.0)

    shares.arrived("passes-0")

    assert shares.virtual("passes-0") < shares.virtual("stays")
    assert shares.standing("").least(1, lambda _: True) == ["passes-0"]
    assert shares.lowest([""]) == shares.virtual("passes-0")
