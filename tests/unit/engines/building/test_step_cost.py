"""What reusing predictions costs is measured on a model's own videos, and told from what is allowed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from engines import models
from engines.building.parity import Levels
from engines.building.step_cost import LEAST_DB, Cost, decibels, measure
from engines.checkpoints.files import Folder
from engines.families.buildable import Sizes
from engines.families.capabilities import Canvas
from engines.families.wan.family import WanFamily
from engines.session import Session
from tests.unit.engines.families.wan import checkpoints


@pytest.fixture(scope="module", params=["text", "vace", "image", "two of text"])
def opened(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[WanFamily, Session]]:
    """A tiny checkpoint's family, and its modules as engines."""
    for package in ("torch", "diffusers", "transformers", "tokenizers"):
        pytest.importorskip(package, reason="a Wan is made with longtake[build]")
    from tests.unit.engines.families.wan.modules import session_of

    folder = tmp_path_factory.mktemp(request.param)
    checkpoints.save(request.param, folder)
    sizes = Sizes((Canvas("1:1", 32, 32),), seconds=1)
    family = models.opened(Folder(folder), name="wan-tiny", sizes=sizes).family
    assert isinstance(family, WanFamily)
    with session_of(family) as session:
        yield family, session


def cost(opened: tuple[WanFamily, Session], threshold: float, tell: Callable[[str, int, int], None]) -> Cost:
    return measure(*opened, "a cat", threshold=threshold, steps=10, seed=1, tell=tell)


def test_a_run_that_reuses_none_costs_nothing_and_one_that_does_is_told(opened: tuple[WanFamily, Session]) -> None:
    told: list[tuple[str, int, int]] = []
    never = cost(opened, 1e-9, lambda *step: told.append(step))
    assert (never.reused, never.decibels, never.levels, never.problem) == (0, math.inf, (0, 0), None)
    assert told == [("a cat", step, 20) for step in range(20)]
    much = cost(opened, 0.9, lambda *_: None)
    assert 2 < much.reused < 8
    assert 0 < much.decibels < math.inf
    assert much.levels.largest > 0
    assert (much.problem is None) is (much.decibels >= LEAST_DB)


def test_what_is_further_apart_than_is_allowed_is_a_problem_and_says_by_how_much() -> None:
    wanted = np.full((2, 4, 4, 3), 100, np.uint8)
    assert decibels(wanted, wanted) == math.inf
    assert decibels(wanted, wanted + 1) == pytest.approx(20 * math.log10(255))
    fine, off = (Cost("a cat", 20, 9, (2.0, 1.0), found, Levels(0.0, 0.0)) for found in (LEAST_DB, 24.94))
    assert fine.problem is None
    assert off.problem == "'a cat': 24.9 dB from the run that computes every step (at least 25)"
    assert Cost("a cat", 20, 9, (2.0, 1.0), math.nan, Levels(0.0, 0.0)).problem
