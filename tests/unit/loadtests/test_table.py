"""How measurements read."""

from __future__ import annotations

import pytest

from loadtests.table import Row, markdown, paired, spread


def test_a_spread_is_the_median_and_the_middle_half() -> None:
    assert spread([5.0, 1.0, 3.0, 4.0, 2.0]) == "3.0 (2.0-4.0)"


def test_what_does_not_spread_is_said_once() -> None:
    assert spread([2.0, 2.0]) == "2.0"


def test_ratios_are_taken_pair_by_pair_before_the_median() -> None:
    assert paired([2.0, 9.0, 40.0], [1.0, 3.0, 10.0]) == "3.00 (2.50-3.50)"


def test_arms_of_unequal_length_are_no_pairs() -> None:
    with pytest.raises(ValueError, match="zip"):
        paired([1.0], [1.0, 2.0])


def test_a_table_has_a_head_a_rule_and_equal_widths() -> None:
    lines = markdown([Row("poll", "cost", "1"), Row("step", "a long description", "2", "3", "0.67", "<= 1x")]).split(
        "\n"
    )

    assert len(lines) == 4
    assert {len(line) for line in lines} == {len(lines[0])}
    assert lines[0].startswith("| benchmark | what")
    assert set(lines[1]) == {"|", "-"}
