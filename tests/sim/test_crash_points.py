"""A crash at every store call of a small life, and two crashes at some: it always ends well, with the same bytes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.sim.crashing import Lived, broken, live, pairs, singles
from tests.sim.seams import prepared

PAIRS = 100
"""`make sim`, which `make test` runs too, tries 2,000."""


@pytest.fixture(scope="module")
def undisturbed() -> Iterator[Lived]:
    with prepared():
        yield live({})


def test_the_undisturbed_life_crosses_the_boundaries_of_every_kind_of_process(undisturbed: Lived) -> None:
    kinds = {boundary.split()[1].partition("-")[0] for boundary in undisturbed.boundaries}

    assert kinds == {"door", "director", "encoder", "denoiser", "renderer"}
    assert [len(segments) for segments in undisturbed.segments] == [2, 1]
    assert live({}) == undisturbed


def test_a_crash_at_any_boundary_changes_nothing(undisturbed: Lived) -> None:
    found = {str(crashes): why for crashes in singles(undisturbed) if (why := broken(crashes, undisturbed))}

    assert found == {}


def test_two_crashes_change_nothing(undisturbed: Lived) -> None:
    drawn = pairs(undisturbed, PAIRS, "unit")
    found = {str(crashes): why for crashes in drawn if (why := broken(crashes, undisturbed))}

    assert found == {}
