"""Builds a model's engines: export → lint → compile → verify → publish, all of them or none.

`longtake engines build` calls it. Needs the extra `longtake[build]`.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Final

from engines import key as keys
from engines import models
from engines.building import verify
from engines.errors import EngineMissing, EngineUnfit
from engines.manifest import EngineEntry, Manifest
from engines.runtimes.onnxruntime import OnnxRuntimeRunner
from engines.session import Session, cores
from engines.spec import ComponentSpec, EngineSpec
from engines.store import Built, Prebuilt

RUNTIME_VERSIONS: Final = ("1.31", "2")
PROFILE: Final = "canvases"
INSTALL: Final = "pip install 'longtake[build]'"
Progress = Callable[[str, int, int], None]
"""Called with what begins now, steps done and steps in all."""


@dataclass(frozen=True)
class Exported:
    """A component's graph, and its face."""

    graph: bytes
    component: ComponentSpec


async def build(
    model: models.Model,
    target: Prebuilt | Built,
    *,
    weights: Path | None = None,
    progress: Progress | None = None,
) -> Manifest:
    """Build all engines of a model from its weights (or others) and publish them to a layer.

    Raises `EngineMissing` without torch or weights, and `EngineUnfit` for what lint or parity refuses.
    """
    made, graphs = make(model, weights or model.weights, progress or _silent)
    if isinstance(target, Prebuilt):
        target.publish(made, graphs)
    else:
        await target.publish(made, graphs)
    return made


def make(model: models.Model, weights: Path, progress: Progress) -> tuple[Manifest, dict[str, bytes]]:
    """Export, lint, compile and verify. Returns the manifest and the engines' bytes by component."""
    absent = missing_packages()
    if absent:
        raise EngineMissing(f"building engines needs {', '.join(absent)}: {INSTALL}")
    digest = models.digest_of_weights(weights)
    if digest is None:
        raise EngineMissing(f"{weights}: no weights (*.safetensors) to build engines of {model.name} from")
    steps = _Steps(progress, total=2 * len(model.family.components) + 2)
    exported = _export(model, weights, steps)
    faces = {name: part.component for name, part in exported.items()}
    with reference_session(model, weights, faces, digest) as reference:
        steps.begin("asking the torch reference")
        answers = verify.record(model.family, reference)
    steps.begin("verifying the engines")
    runners = {name: OnnxRuntimeRunner(part.component, part.graph, threads=cores()) for name, part in exported.items()}
    with Session(model.family, runners, digest=digest) as session:
        parity = verify.compare(model.family, session, answers)
    verify.demand(parity)
    manifest = Manifest(
        model=model.name,
        weights_digest=digest,
        engines=tuple(_entry(model, digest, part, parity) for part in exported.values()),
        runtime_versions=RUNTIME_VERSIONS,
        verified_with={name: version(name) for name in ("onnxruntime", "torch", "onnx", "onnxscript")},
        end_to_end=parity.run,
        probes=verify.as_probes(answers),
    )
    steps.finish()
    return manifest, {name: part.graph for name, part in exported.items()}


def reference_session(model: models.Model, weights: Path, faces: Mapping[str, ComponentSpec], digest: str) -> Session:
    """The model as torch modules with these weights, behind the faces of its engines."""
    from engines.runtimes.torch import TorchRunner

    modules = model.graphs(weights)
    runners = {name: TorchRunner(face, modules[name].module) for name, face in faces.items()}
    return Session(model.family, runners, digest=digest)


def missing_packages() -> list[str]:
    """Which of the packages that a build needs are not installed."""
    return [name for name in ("torch", "onnx", "onnxscript") if importlib.util.find_spec(name) is None]


class _Steps:
    """Counts the steps of a build."""

    def __init__(self, progress: Progress, *, total: int) -> None:
        self._progress = progress
        self._total = total
        self._begun = 0

    def begin(self, what: str) -> None:
        self._progress(what, self._begun, self._total)
        self._begun += 1

    def finish(self) -> None:
        self._progress("done", self._total, self._total)


def _export(model: models.Model, weights: Path, steps: _Steps) -> dict[str, Exported]:
    from engines.building import export, lint

    modules = model.graphs(weights)
    if set(modules) != set(model.family.components):
        raise EngineUnfit(f"{model.name} has modules {sorted(modules)} for components {model.family.components}")
    result = {}
    for name in model.family.components:
        steps.begin(f"exporting {name}")
        graph, component = export.export(name, modules[name])
        steps.begin(f"checking {name}")
        lint.lint(name, graph)
        result[name] = Exported(graph, component)
    return result


def _entry(model: models.Model, digest: str, part: Exported, parity: verify.Parity) -> EngineEntry:
    spec = EngineSpec(
        model=model.name,
        weights_digest=digest,
        component=part.component,
        runtime="onnxruntime",
        precision="float32",
        profile=PROFILE,
        device="cpu",
    )
    # ONNX Runtime runs the portable graph itself: its bytes are bound to the opset, not to a version of the
    # runtime.
    graph_digest, bound_to = keys.digest_of(part.graph), "onnx-opset20"
    return EngineEntry(
        key=keys.engine_key(spec, graph_digest=graph_digest, runtime_version=bound_to),
        spec=spec,
        graph_digest=graph_digest,
        runtime_version=bound_to,
        sha256=graph_digest,
        size=len(part.graph),
        parity=parity.components[part.component.name],
    )


def _silent(what: str, done: int, total: int) -> None:
    """Tell nobody."""
