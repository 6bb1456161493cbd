"""Does an engine compute what its torch module computes? On random inputs, by component and end to end.

`build.py` asks before it publishes, `longtake engines verify` at any time: with torch against the modules
themselves, without it against the answers that the modules gave when the engines were built.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from engines.building import probes
from engines.errors import EngineUnfit
from engines.families.base import Engines
from engines.families.buildable import PROBE_SEED, BuildableFamily
from engines.manifest import Manifest, Probe

TOLERANCE: Final = 5e-4
"""Of one call, relative to the largest value: float32 sums in another order differ by 1e-6 to 2e-5 here,
wrong weights by 1e-1."""
RUN_TOLERANCE: Final = 2e-3
"""Of a whole run's latents: each step works on the last one's differences."""
FRAME_LEVELS: Final = 2.0
"""Of a whole run's pixels, of 255: values that lie between two levels may be rounded either way."""
END_TO_END: Final = "end_to_end"

Outputs = Mapping[str, NDArray[np.generic]]
Answers = Mapping[tuple[str, str], Outputs]
"""By (component, case); whole runs under `end_to_end`."""


@dataclass(frozen=True)
class Parity:
    """Largest differences found, relative to each output's largest value."""

    components: Mapping[str, float]
    run: float
    """Of whole runs' latents."""
    frames: float
    """Of whole runs' pixels, in levels of 255."""

    def problems(self) -> list[str]:
        """What is beyond its tolerance, one sentence each; NaN is beyond any."""
        found = [
            f"{name} differs by {difference:.2g} of its scale (at most {TOLERANCE:g})"
            for name, difference in self.components.items()
            if not difference <= TOLERANCE
        ]
        if not self.run <= RUN_TOLERANCE:
            found.append(f"latents of a whole run differ by {self.run:.2g} of their scale (at most {RUN_TOLERANCE:g})")
        if not self.frames <= FRAME_LEVELS:
            found.append(f"pixels of a whole run differ by {self.frames:g} levels (at most {FRAME_LEVELS:g})")
        return found


def record(family: BuildableFamily, reference: Engines) -> Answers:
    """What the reference answers to every case."""
    answers: dict[tuple[str, str], Outputs] = {
        (case.component, case.name): reference.infer(case.component, case.inputs) for case in family.cases()
    }
    for canvas in family.probe_canvases:
        answers[END_TO_END, canvas.aspect_ratio] = probes.end_to_end(family, reference, canvas)
    return answers


def as_probes(answers: Answers) -> tuple[Probe, ...]:
    """The answers as a manifest keeps them."""
    return tuple(Probe(name, case, PROBE_SEED, probes.kept(outputs)) for (name, case), outputs in answers.items())


def compare(family: BuildableFamily, engines: Engines, answers: Answers) -> Parity:
    """The engines against the reference's full answers."""
    return _compare(answers, record(family, engines))


def check_probes(family: BuildableFamily, engines: Engines, manifest: Manifest) -> Parity:
    """The engines against the answers that the manifest keeps. Raises `EngineUnfit` when they are for other
    cases."""
    wanted = {
        (probe.component, probe.case): {name: np.asarray(values) for name, values in probe.values.items()}
        for probe in manifest.probes
    }
    found = record(family, engines)
    if set(wanted) != set(found) or any(probe.seed != PROBE_SEED for probe in manifest.probes):
        raise EngineUnfit(
            "the manifest keeps answers to other inputs than this version draws: "
            f"`longtake engines build --model {manifest.model}` records them again"
        )
    return _compare(wanted, {key: {n: np.asarray(v) for n, v in probes.kept(o).items()} for key, o in found.items()})


def certified(manifest: Manifest, parity: Parity) -> Manifest:
    """The manifest with the differences that were found. Raises `EngineUnfit` naming those beyond their tolerance."""
    found = parity.problems()
    if found:
        raise EngineUnfit("the engines do not compute what the model does: " + "; ".join(found))
    entries = tuple(replace(entry, parity=parity.components[entry.component]) for entry in manifest.engines)
    return replace(manifest, engines=entries, end_to_end=parity.run)


def _compare(wanted: Answers, found: Answers) -> Parity:
    components: dict[str, float] = {}
    run = frames = 0.0
    for (component, case), outputs in wanted.items():
        for name, values in outputs.items():
            absolute, relative = _difference(values, found[component, case][name])
            if component != END_TO_END:
                components[component] = _worse(components.get(component, 0.0), relative)
            elif name == "frames":
                frames = _worse(frames, absolute)
            else:
                run = _worse(run, relative)
    return Parity(components, run, frames)


def _difference(wanted: NDArray[np.generic], found: NDArray[np.generic]) -> tuple[float, float]:
    """Largest difference, absolute and relative to the largest wanted value; NaN where either has one."""
    expected, got = np.asarray(wanted, np.float64), np.asarray(found, np.float64)
    if expected.shape != got.shape:
        return float("nan"), float("nan")
    absolute = float(np.max(np.abs(expected - got)))
    return absolute, absolute / max(float(np.max(np.abs(expected))), 1e-6)


def _worse(a: float, b: float) -> float:
    """The larger, and NaN if one is NaN."""
    return float(np.maximum(a, b))
