"""What plans compute on a GPU is what their graphs compute elsewhere; `make test-gpu` runs it where there is one."""

from __future__ import annotations

import copy

import numpy as np
import pytest

from engines import models
from engines.building import verify
from engines.building.parity import BANDS
from engines.families.base import Conditions, Denoising
from engines.families.buildable import Case
from engines.families.history import Before
from engines.precision import FULL
from engines.session import Session
from engines.spec import ComponentSpec
from tests.gpu.conftest import Compiled

COMPONENTS = models.family("sprite").components
LARGEST = 0
"""Stands for the most that the engine takes."""


def resized(case: Case, component: ComponentSpec, batch: int) -> dict[str, np.ndarray]:
    """The case's inputs, repeated to so many."""
    size = batch or component.spans["B"].max
    named = {tensor.name: tensor.dims[0] == "B" for tensor in component.inputs}
    return {
        name: np.resize(values, (size, *values.shape[1:])) if named[name] else values
        for name, values in case.inputs.items()
    }


@pytest.mark.parametrize("batch", [1, 2, LARGEST])
@pytest.mark.parametrize("component", COMPONENTS)
def test_each_engine_computes_what_its_graph_does(
    compiled: Compiled, on_gpu: Session, on_cpu: Session, component: str, batch: int
) -> None:
    face = compiled.manifest.entry(component).spec.component
    for case in compiled.model.family.cases():
        if case.component != component:
            continue
        inputs = resized(case, face, batch)
        wanted, found = on_cpu.infer(component, inputs), on_gpu.infer(component, inputs)
        for name, values in wanted.items():
            scale = max(float(np.abs(values).max()), 1e-6)
            difference = float(np.abs(np.asarray(found[name]) - values).max()) / scale
            print(f"{component} {case.name} B={batch or 'largest'} {name}: {difference:.1e}")
            assert difference <= BANDS[FULL].call.largest, (case.name, name)


def test_whole_runs_are_within_their_tolerance(compiled: Compiled, on_gpu: Session, on_cpu: Session) -> None:
    family = compiled.model.family
    parity = verify.compare(family, on_gpu, verify.record(family, on_cpu), compiled.manifest).parity
    print(f"whole runs: latents {parity.run.largest:.1e}, pixels {parity.frames.largest:g} levels of 255")
    assert parity.problems() == []


def test_a_run_that_was_stopped_goes_on_to_the_same_bytes_in_engines_that_were_loaded_anew(
    compiled: Compiled, on_gpu: Session
) -> None:
    family = compiled.model.family
    before = Before(family.capabilities.canvases[0])
    (caption,) = family.read_prompt("a red square moves right", seed=1, before=before).effective_prompts
    text = family.encode_text(on_gpu, caption)
    state = family.start(
        Conditions(before.canvas, text, effective_prompt=caption, before=before), seed=1, segment=0, steps=6
    )
    kept: Denoising | None = None
    while not state.done:
        if state.step == 3:
            kept = copy.deepcopy(state)
        family.step(on_gpu, [state])
    assert kept is not None
    with compiled.open() as anew:
        while not kept.done:
            family.step(anew, [kept])
    np.testing.assert_array_equal(kept.latents, state.latents)
