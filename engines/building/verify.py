"""Does an engine compute what its torch module computes? On random inputs, by component and end to end.

`build.py` asks before it publishes, `longtake engines verify` at any time: with torch against the modules themselves,
without it against the answers that the modules gave when the engines were built. Each component is asked for one row
at a time, for the rows of its cases at once, and for as many as it takes: compilers are known that are wrong for more
than one. `parity.py` has what is allowed.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from engines.building import parity as measures
from engines.building import probes
from engines.building.parity import Difference, Levels, Parity, Row
from engines.errors import EngineUnfit
from engines.families.base import Engines
from engines.families.buildable import PROBE_SEED, BuildableFamily, Case
from engines.manifest import Manifest, Probe
from engines.spec import ComponentSpec

END_TO_END: Final = "end_to_end"
BATCH: Final = "B"
"""Name of the size that counts rows which know nothing of each other."""

Outputs = Mapping[str, NDArray[np.generic]]
Answers = Mapping[tuple[str, str], Outputs]
"""By (component, case); whole runs under `end_to_end`."""
Look = Callable[[Outputs], Outputs]
"""What of an answer is compared."""


@dataclass(frozen=True)
class Compared:
    """What came of a comparison."""

    parity: Parity
    wanted: Answers
    """Of the reference, whole runs alone; nothing where a few of its values were at hand."""
    found: Answers
    """The same of the engines."""


def record(family: BuildableFamily, reference: Engines) -> Answers:
    """What the reference answers to every case."""
    answers: dict[tuple[str, str], Outputs] = {
        (case.component, case.name): reference.infer(case.component, case.inputs) for case in family.cases()
    }
    return {**answers, **_runs(family, reference)}


def as_probes(answers: Answers) -> tuple[Probe, ...]:
    """The answers as a manifest keeps them."""
    return tuple(Probe(name, case, PROBE_SEED, probes.kept(outputs)) for (name, case), outputs in answers.items())


def packed(answers: Answers) -> bytes:
    """The answers, whole, as a file beside the engines."""
    names: list[list[str]] = []
    arrays: dict[str, NDArray[np.generic]] = {}
    for (component, case), outputs in answers.items():
        for name, values in outputs.items():
            arrays[str(len(names))] = values
            names.append([component, case, name])
    written = io.BytesIO()
    np.savez_compressed(written, allow_pickle=False, names=np.array(names), **arrays)
    return written.getvalue()


def unpacked(data: bytes) -> Answers:
    """The inverse."""
    answers: dict[tuple[str, str], dict[str, NDArray[np.generic]]] = {}
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        for number, (component, case, name) in enumerate(arrays["names"].tolist()):
            answers.setdefault((component, case), {})[name] = arrays[str(number)]
    return answers


def compare(family: BuildableFamily, engines: Engines, answers: Answers, manifest: Manifest) -> Compared:
    """The engines of this manifest against the reference's full answers. Raises `EngineUnfit` for answers to other
    cases."""
    return _compare(family, engines, answers, manifest, look=lambda outputs: outputs)


def check_probes(family: BuildableFamily, engines: Engines, manifest: Manifest) -> Compared:
    """The engines against the few values that the manifest keeps of each answer. Raises `EngineUnfit` for answers to
    other cases."""
    if any(probe.seed != PROBE_SEED for probe in manifest.probes):
        raise _other_inputs(manifest)
    wanted = {
        (probe.component, probe.case): {name: np.asarray(values) for name, values in probe.values.items()}
        for probe in manifest.probes
    }

    def look(outputs: Outputs) -> Outputs:
        return {name: np.asarray(values) for name, values in probes.kept(outputs).items()}

    return Compared(_compare(family, engines, wanted, manifest, look=look).parity, {}, {})


def certified(manifest: Manifest, parity: Parity) -> Manifest:
    """The manifest with the differences that were found. Raises `EngineUnfit` naming those beyond what is allowed."""
    found = parity.problems()
    if found:
        raise EngineUnfit("the engines do not compute what the model does: " + "; ".join(found))
    entries = tuple(replace(entry, parity=parity.components[entry.component]) for entry in manifest.engines)
    return replace(manifest, engines=entries, end_to_end=parity.run.largest)


def _compare(family: BuildableFamily, engines: Engines, wanted: Answers, manifest: Manifest, *, look: Look) -> Compared:
    rows: dict[tuple[str, int], Difference] = {}
    seen, cases = set(), set()
    for case in family.cases():
        cases.add((case.component, case.name))
        if (case.component, case.name) not in wanted:
            raise _other_inputs(manifest)
        face = manifest.entry(case.component).spec.component
        for batch in _batches(case, face, first=case.component not in seen):
            for outputs in _answers(engines, case, face, batch):
                found = _worst(wanted[case.component, case.name], look(outputs))
                known = rows.get((case.component, batch), found)
                rows[case.component, batch] = measures.worse(known, found)
        seen.add(case.component)
    told = tuple(Row(component, batch, worst) for (component, batch), worst in rows.items())
    if cases | {(END_TO_END, canvas.aspect_ratio) for canvas in family.probe_canvases} != set(wanted):
        raise _other_inputs(manifest)
    if any(np.isnan(row.difference).any() for row in told):
        # Whoever decodes what is no number may do anything: there is no whole run.
        return Compared(Parity(told, measures.NOTHING, Levels(np.nan, np.nan), manifest.precisions), {}, {})
    runs = _runs(family, engines)
    run, frames = Difference(0.0, 0.0, 0.0), Levels(0.0, 0.0)
    for place, outputs in runs.items():
        for name, values in look(outputs).items():
            if name == "frames":
                frames = measures.worse_levels(frames, measures.levels(wanted[place][name], values))
            else:
                run = measures.worse(run, measures.difference(wanted[place][name], values))
    shown = {place: outputs for place, outputs in wanted.items() if place in runs}
    return Compared(Parity(told, run, frames, manifest.precisions), shown, runs)


def _runs(family: BuildableFamily, engines: Engines) -> dict[tuple[str, str], Outputs]:
    return {
        (END_TO_END, canvas.aspect_ratio): probes.end_to_end(family, engines, canvas)
        for canvas in family.probe_canvases
    }


def _worst(wanted: Outputs, found: Outputs) -> Difference:
    worst = Difference(0.0, 0.0, 0.0)
    for name, values in wanted.items():
        worst = measures.worse(worst, measures.difference(values, found[name]))
    return worst


def _batched(face: ComponentSpec) -> list[str]:
    """Inputs with a row for each of the batch."""
    return [tensor.name for tensor in face.inputs if tensor.dims[:1] == (BATCH,)]


def _batches(case: Case, face: ComponentSpec, *, first: bool) -> list[int]:
    """Rows of the calls that are made for a case: its own, and of a component's first one also one, two and the most
    that it takes, in whole cases."""
    named = _batched(face)
    if not named:
        return [1]
    own = len(case.inputs[named[0]])
    span = face.spans[BATCH]
    asked = {size for size in (1, 2, span.max // own * own) if span.min <= size <= span.max}
    return sorted({own, *asked}) if first else [own]


def _answers(engines: Engines, case: Case, face: ComponentSpec, batch: int) -> Iterator[Outputs]:
    """Answers to a case by calls of so many rows, each of as many as the case has: these are asked for in parts, or
    again and again."""
    named = _batched(face)
    if not named:
        yield engines.infer(case.component, case.inputs)
        return
    own = len(case.inputs[named[0]])
    if batch >= own:
        repeated = {
            name: np.concatenate([values] * (batch // own)) if name in named else values
            for name, values in case.inputs.items()
        }
        found = engines.infer(case.component, repeated)
        for begin in range(0, batch, own):
            yield {name: np.asarray(values)[begin : begin + own] for name, values in found.items()}
        return
    parts = [
        engines.infer(
            case.component,
            {name: values[row : row + batch] if name in named else values for name, values in case.inputs.items()},
        )
        for row in range(0, own, batch)
    ]
    yield {name: np.concatenate([np.asarray(part[name]) for part in parts]) for name in parts[0]}


def _other_inputs(manifest: Manifest) -> EngineUnfit:
    return EngineUnfit(
        "the answers that lie with these engines are to other inputs than this version draws: "
        f"`longtake engines build --model {manifest.model}` records them again"
    )
