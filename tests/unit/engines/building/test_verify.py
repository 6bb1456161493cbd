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
    parity = verify.check_probes(FAMILY, shipped, manifest).parity
    assert parity.problems() == []
    assert set(parity.components) == set(shipped.family.components)
    for component in parity.components:
        most = manifest.entry(component).spec.component.spans[verify.BATCH].max
        assert [row.batch for row in parity.rows if row.component == component] == [1, 2, most]


def test_every_component_is_asked_on_every_canvas(shipped: Session, manifest: Manifest) -> None:
    asked = {(probe.component, probe.case.split()[0]) for probe in manifest.probes}
    for canvas in shipped.family.capabilities.canvases:
        for component in (*shipped.family.components, verify.END_TO_END):
            assert component == "text_encoder" or (component, canvas.aspect_ratio) in asked


def test_engines_that_are_off_by_a_percent_are_found_each_by_its_name(shipped: Session, manifest: Manifest) -> None:
    parity = verify.check_probes(FAMILY, Skewed(shipped), manifest).parity
    for component in FAMILY.components:
        assert any(problem.startswith(f"{component}, B=1,") for problem in parity.problems())
    with pytest.raises(EngineUnfit, match=r"vae_encoder, B=1, differs by .* of its scale \(at most 0\.0005\)"):
        verify.certified(manifest, parity)


def test_engines_that_are_wrong_for_large_batches_alone_are_found(shipped: Session, manifest: Manifest) -> None:
    problems = verify.check_probes(FAMILY, Skewed(shipped, above=2), manifest).parity.problems()
    assert {problem.split(",")[1] for problem in problems} == {" B=64"}
    assert {problem.split(",")[0] for problem in problems} == set(FAMILY.components)


def test_of_engines_that_give_no_numbers_there_is_no_whole_run(shipped: Session, manifest: Manifest) -> None:
    compared = verify.check_probes(FAMILY, Skewed(shipped, factor=np.nan), manifest)
    assert set(compared.parity.problems()) == {
        f"{component}, B={batch}, gives what is no number, or of another shape"
        for component in FAMILY.components
        for batch in (1, 2, 64)
    }
    with pytest.raises(EngineUnfit, match="do not compute what the model does: vae_encoder, B=1, gives what is no"):
        verify.certified(manifest, compared.parity)


def test_whole_answers_can_be_put_away_and_are_compared_as_they_were(shipped: Session, manifest: Manifest) -> None:
    answers = verify.record(FAMILY, shipped)
    kept = verify.unpacked(verify.packed(answers))
    assert {place: set(outputs) for place, outputs in kept.items()} == {
        place: set(outputs) for place, outputs in answers.items()
    }
    compared = verify.compare(FAMILY, shipped, kept, manifest)
    assert compared.parity.run == pytest.approx((0.0, 0.0, 0.0))
    assert compared.parity.frames == (0.0, 0.0)
    assert {canvas for _, canvas in compared.wanted} == {canvas.aspect_ratio for canvas in FAMILY.probe_canvases}


def test_answers_to_other_inputs_are_not_compared(shipped: Session, manifest: Manifest) -> None:
    other = replace(manifest, probes=tuple(replace(probe, seed=21) for probe in manifest.probes))
    with pytest.raises(EngineUnfit, match="other inputs"):
        verify.check_probes(FAMILY, shipped, other)


class Skewed:
    """Engines that are off by a factor, for more than so many rows."""

    def __init__(self, session: Session, *, above: int = 0, factor: float = 1.01) -> None:
        self._session = session
        self._factor = np.float32(factor)
        self._above = above

    def infer(self, component: str, inputs: Arrays) -> dict[str, NDArray[np.generic]]:
        found = self._session.infer(component, inputs)
        rows = max(len(values) for values in found.values())
        if rows <= self._above:
            return found
        return {name: np.asarray(values, np.float32) * self._factor for name, values in found.items()}
