"""Whole runs go through what the family can do, and through nothing else."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from engines.building import probes
from engines.families.sprite.capabilities import CAPABILITIES
from engines.families.sprite.family import SpriteFamily
from engines.session import Session


class Modest(SpriteFamily):
    """Takes no references and extends nothing."""

    capabilities = replace(CAPABILITIES, references_max=0, extension=False)


def test_a_family_that_extends_is_run_over_two_segments(shipped: Session) -> None:
    found = probes.end_to_end(SpriteFamily(), shipped, CAPABILITIES.canvases[1])
    assert {name: len(values) for name, values in found.items()} == {"root": 5, "extension": 4, "frames": 16}


def test_a_family_that_does_not_is_run_over_its_root(shipped: Session) -> None:
    found = probes.end_to_end(Modest(), shipped, CAPABILITIES.canvases[1])
    assert {name: len(values) for name, values in found.items()} == {"root": 5, "frames": 17}


def test_a_value_that_is_no_number_is_kept_wherever_it_stands() -> None:
    values = np.ones((4, 100), np.float32)
    values[2, 3] = np.nan
    assert np.isnan(probes.kept({"y": values})["y"]).all()
    assert probes.kept({"y": np.ones(20, np.float32)})["y"] == (1.0,) * probes.KEPT
