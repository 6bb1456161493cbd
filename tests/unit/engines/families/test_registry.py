"""Each line of the registry is a family that can be built, with its weights in its own folder."""

from __future__ import annotations

from typing import get_args

from engines.families.base import EngineCall
from engines.families.buildable import ScoredFamily
from engines.families.registry import PLACES
from engines.families.sprite.training import score
from engines.models import Models


def test_every_line_is_a_family_with_weights() -> None:
    found = Models(PLACES).all()
    assert len(found) == len(PLACES)
    for model in found:
        assert model.weights_digest() is not None
        assert {case.component for case in model.family.cases()} == set(model.family.components)


def test_every_engine_is_used_by_what_a_stage_calls() -> None:
    for model in Models(PLACES).all():
        assert set(model.family.uses) == set(get_args(EngineCall))
        assert {name for names in model.family.uses.values() for name in names} == set(model.family.components)


def test_the_default_model_can_be_scored() -> None:
    family = Models(PLACES).all()[0].family
    assert isinstance(family, ScoredFamily)
    assert set(family.scores) == set(score.ROWS)
