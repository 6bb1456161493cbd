"""Calls and results pass between processes of two versions while a roll-out goes on."""

from __future__ import annotations

import pickle
from dataclasses import fields, is_dataclass

import pytest

from serving.stages import contracts

PASSED = [what for what in vars(contracts).values() if isinstance(what, type) and is_dataclass(what)]


@pytest.mark.parametrize("passed", PASSED)
def test_one_of_a_later_version_is_taken_with_more_than_is_known(passed: type) -> None:
    later: object = object.__new__(passed)
    later.__dict__.update({field.name: field.name for field in fields(passed)}, mood="calm")

    found = pickle.loads(pickle.dumps(later))

    assert {field.name: getattr(found, field.name) for field in fields(passed)} == {
        field.name: field.name for field in fields(passed)
    }
