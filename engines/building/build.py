"""Builds a model's engines: export → lint → compile → verify → publish, all of them or none.

`longtake engines build` calls it. Needs the extra `longtake[build]`.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Final

from engines import key as keys
from engines import models
from engines.building import verify
from engines.checkpoints.files import Files
from engines.errors import EngineNotBuilt, EngineUnfit
from engines.families.graph import GraphSpec
from engines.manifest import EngineEntry, Manifest
from engines.runtimes.base import Runtime
from engines.runtimes.registry import SHIPPED
from engines.session import Session, cores
from engines.spec import ComponentSpec, EngineSpec
from engines.store import Built, Prebuilt
from engines.threads import in_daemon

PROFILE: Final = "canvases"
PRECISION: Final = "float32"
PACKAGES: Final = ("torch", "onnx", "onnxscript")
"""What a build needs besides the runtime."""
INSTALL: Final = "pip install 'longtake[build]'"
Progress = Callable[[str, int, int], None]
"""Called with what begins now, steps done and steps in all."""


@dataclass(frozen=True)
class Compiled:
    """A component's graph, and the engine that a runtime made of it."""

    spec: EngineSpec
    graph_digest: str
    engine: bytes


async def build(
    model: models.Model,
    target: Prebuilt | Built,
    *,
    weights: Files | None = None,
    runtime: Runtime | None = None,
    progress: Progress | None = None,
) -> Manifest:
    """Build all engines of a model from its weights (or others), for a runtime, and publish them to a layer.

    `runtime` defaults to the registry's default. Raises `EngineNotBuilt` without torch or weights, and `EngineUnfit`
    for what lint, the runtime or parity refuses.
    """
    chosen, say = runtime or SHIPPED.default(), progress or _silent
    made, engines = await in_daemon(lambda: make(model, weights or model.weights, chosen, say))
    if isinstance(target, Prebuilt):
        target.publish(made, engines)
    else:
        await target.publish(made, engines)
    return made


def make(
    model: models.Model, weights: Files, runtime: Runtime, progress: Progress
) -> tuple[Manifest, dict[str, bytes]]:
    """Export, lint, compile and verify. Returns the manifest and the engines' bytes by component."""
    demand_packages()
    digest = models.digest_of_weights(weights)
    if digest is None:
        raise EngineNotBuilt(f"{weights}: no weights (*.safetensors) to build engines of {model.name} from")
    if model.recorded not in (None, digest):
        raise EngineUnfit(
            f"{weights}: these are not the files that {model.name} was added with; bring those back, or add the "
            "checkpoint under another name"
        )
    steps = _Steps(progress, total=2 * len(model.family.components) + 2)
    modules = graphs_of(model, weights)
    parts = _compile(model, modules, digest, runtime, steps)
    faces = {name: part.spec.component for name, part in parts.items()}
    with reference_session(model, modules, faces, digest) as reference:
        steps.begin("asking the torch reference")
        answers = verify.record(model.family, reference)
    steps.begin("verifying the engines")
    runners = {name: runtime.runner(faces[name], part.engine, threads=cores()) for name, part in parts.items()}
    with Session(model.family, runners, digest=digest) as session:
        parity = verify.compare(model.family, session, answers)
    verify.demand(parity)
    manifest = Manifest(
        model=model.name,
        weights_digest=digest,
        engines=tuple(_entry(part, runtime, parity) for part in parts.values()),
        runtime_versions=runtime.loads,
        verified_with={runtime.distribution: runtime.version(), **{name: version(name) for name in PACKAGES}},
        end_to_end=parity.run,
        probes=verify.as_probes(answers),
    )
    steps.finish()
    return manifest, {name: part.engine for name, part in parts.items()}


def graphs_of(model: models.Model, weights: Files) -> Mapping[str, GraphSpec]:
    """The model's components as torch modules with these weights. Raises `EngineNotBuilt` where a package is missing,
    `EngineUnfit` for a family that has not the components that it names."""
    try:
        modules = model.family.graphs(weights)
    except ModuleNotFoundError as error:
        raise EngineNotBuilt(f"building engines of {model.name} needs {error.name}: {INSTALL}") from error
    if set(modules) != set(model.family.components):
        raise EngineUnfit(f"{model.name} has modules {sorted(modules)} for components {model.family.components}")
    return modules


def reference_session(
    model: models.Model, modules: Mapping[str, GraphSpec], faces: Mapping[str, ComponentSpec], digest: str
) -> Session:
    """The model as torch modules behind the faces of its engines."""
    from engines.runtimes.torch import TorchRunner

    runners = {name: TorchRunner(face, modules[name].module) for name, face in faces.items()}
    return Session(model.family, runners, digest=digest)


def missing_packages() -> list[str]:
    """Which of the packages that a build needs are not installed."""
    return [name for name in PACKAGES if importlib.util.find_spec(name) is None]


def demand_packages() -> None:
    """Raise `EngineNotBuilt` unless they all are."""
    absent = missing_packages()
    if absent:
        raise EngineNotBuilt(f"building engines needs {', '.join(absent)}: {INSTALL}")


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


def _compile(
    model: models.Model, modules: Mapping[str, GraphSpec], digest: str, runtime: Runtime, steps: _Steps
) -> dict[str, Compiled]:
    """Each component: exported, checked, and compiled for the runtime's first device."""
    from engines.building import export, lint

    result = {}
    for name in model.family.components:
        steps.begin(f"exporting {name}")
        graph, component = export.export(name, modules[name])
        steps.begin(f"checking and compiling {name}")
        lint.lint(name, graph)
        spec = EngineSpec(
            model=model.name,
            weights_digest=digest,
            component=component,
            runtime=runtime.name,
            precision=PRECISION,
            profile=PROFILE,
            device=runtime.devices[0],
        )
        result[name] = Compiled(spec, keys.digest_of(graph), runtime.compile(graph, spec))
    return result


def _entry(part: Compiled, runtime: Runtime, parity: verify.Parity) -> EngineEntry:
    bound_to = runtime.bound_to()
    return EngineEntry(
        key=keys.engine_key(part.spec, graph_digest=part.graph_digest, runtime_version=bound_to),
        spec=part.spec,
        graph_digest=part.graph_digest,
        runtime_version=bound_to,
        sha256=keys.digest_of(part.engine),
        size=len(part.engine),
        parity=parity.components[part.spec.component.name],
    )


def _silent(what: str, done: int, total: int) -> None:
    """Tell nobody."""
