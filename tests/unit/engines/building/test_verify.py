"""Verification sees an engine that computes something else, and is content with those that are shipped."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from engines import models
from engines.building import verify
from engines.errors import EngineUnfit
from engines.manifest import Manifest
from engines.runtimes.base import Arrays
from engines.session import Session

FAMILY = models.find("sprite").family


@pytest.fixture(scope="module")
def manifest() -> Manifest:
    return asyncio.run(
        models.find("sprite").package_store().find("sprite-2", models.find("sprite").weights_digest())
    ).manifest


def test_the_shipped_engines_answer_as_torch_did(shipped: Session, manifest: Manifest) -> None:
    parity = verify.check_probes(FAMILY, shipped, manifest)
    assert parity.problems() == []
    assert set(parity.components) == set(shipped.family.components)


def test_every_component_is_asked_on_every_canvas(shipped: Session, manifest: Manifest) -> None:
    asked = {(probe.component, probe.case.split()[0]) for probe in manifest.probes}
    for canvas in shipped.family.capabilities.canvases:
        for component in (*shipped.family.components, verify.END_TO_END):
            assert component == "text_encoder" or (component, canvas.aspect_ratio) in asked


@pytest.mark.parametrize("component", models.family("sprite").components)
def test_an_engine_that_is_off_by_a_percent_is_found(shipped: Session, manifest: Manifest, component: str) -> None:
    parity = verify.check_probes(FAMILY, Skewed(shipped, component), manifest)
    assert any(problem.startswith(component) for problem in parity.problems())
    with pytest.raises(EngineUnfit, match=component):
        verify.certified(manifest, parity)


def test_not_a_number_is_beyond_every_tolerance() -> None:
    parity = verify.Parity({"dit": float("nan")}, run=float("nan"), frames=float("nan"))
    assert len(parity.problems()) == 3


def test_answers_to_other_inputs_are_not_compared(shipped: Session, manifest: Manifest) -> None:
    other = replace(manifest, probes=tuple(replace(probe, seed=21) for probe in manifest.probes))
    with pytest.raises(EngineUnfit, match="other inputs"):
        verify.check_probes(FAMILY, shipped, other)


class Skewed:
    """Engines of which one is a percent off."""

    def __init__(self, session: Session, component: str) -> None:
        self._session = session
        self._component = component

    def infer(self, component: str, inputs: Arrays) -> dict[str, NDArray[np.generic]]:
        found = self._session.infer(component, inputs)
        if component != self._component:
            return found
        return {name: np.asarray(values, np.float32) * np.float32(1.01) for name, values in found.items()}
