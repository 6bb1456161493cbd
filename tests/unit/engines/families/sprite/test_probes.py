"""The cases that the sprite model's engines are verified on."""

from __future__ import annotations

import numpy as np

from engines.families.sprite.family import SpriteFamily


def test_the_same_cases_are_drawn_each_time() -> None:
    first, second = (list(SpriteFamily().cases()) for _ in range(2))
    for one, other in zip(first, second, strict=True):
        assert (one.component, one.name) == (other.component, other.name)
        for name in one.inputs:
            np.testing.assert_array_equal(one.inputs[name], other.inputs[name])


def test_every_component_has_a_case_and_each_case_a_name_of_its_own() -> None:
    cases = [(case.component, case.name) for case in SpriteFamily().cases()]
    assert {component for component, _ in cases} == set(SpriteFamily.components)
    assert len(cases) == len(set(cases))
