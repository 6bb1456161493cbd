"""Builds a model's engines: export → lint → compile → verify → publish, all of a set or none.

`longtake engines build` calls it. Needs the extra `longtake[build]`.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING, Final

from engines import blobs, models
from engines import key as keys
from engines.building import half, lint, merge, report, reuse, verify
from engines.building.reuse import Reused
from engines.building.steps import Progress, Steps, silent
from engines.building.verify import Answers
from engines.checkpoints.adapters import AdapterFile
from engines.checkpoints.files import Counted, Files, amount, digest_of
from engines.cores import cores
from engines.errors import EngineNotBuilt, EngineUnfit
from engines.families.graph import GraphSpec
from engines.kept import Kept
from engines.manifest import UNVERIFIED, EngineEntry, Manifest
from engines.precision import FULL, Precisions
from engines.runtimes.base import Runtime, Source
from engines.runtimes.registry import SHIPPED
from engines.session import Session
from engines.spec import ComponentSpec, EngineSpec
from engines.store import Built, Prebuilt
from engines.threads import in_daemon
from engines.weights import Weights, WeightsFolder

if TYPE_CHECKING:
    from engines.building.export import Exported

PROFILE: Final = "canvases"
PACKAGES: Final = ("torch", "onnx", "onnxscript")
"""What a build needs besides the runtime."""
INSTALL: Final = "pip install 'longtake[build]'"


@dataclass(frozen=True)
class Made:
    """A set of engines that is still nowhere."""

    manifest: Manifest
    engines: Mapping[str, bytes]
    """By component."""
    papers: Mapping[str, bytes]
    """For a store, by name."""


async def build(
    model: models.Model,
    layer: Prebuilt | Built,
    *,
    weights: Files | None = None,
    adapters: Sequence[AdapterFile] = (),
    runtime: Runtime | None = None,
    targets: Sequence[str] = (),
    precisions: Precisions | None = None,
    progress: Progress | None = None,
) -> list[Manifest]:
    """Build a model's engines from its weights (or others), a set for each target, and publish them to a layer.

    `adapters` are the files of those that the model was added with, in their order. `runtime` defaults to the
    registry's default, `targets` to the device that is here, `precisions` to float32. A set for another device
    cannot be compared with torch here: it is published as compiled and not verified, and no stage loads it. Large
    weights may come to lie beside the engines of a store, in the layer's folder first. Raises `EngineNotBuilt` without
    torch, runtime or weights, `CheckpointUnfit` for weights that are not those that were recorded, and `EngineUnfit`
    for what lint, the runtime or parity refuses.
    """
    chosen, say = runtime or SHIPPED.default(), progress or silent
    devices, kinds = chosen.targets(targets), dict.fromkeys(model.family.components, FULL) | dict(precisions or {})
    demand_precisions(chosen, devices, kinds)
    if isinstance(layer, Prebuilt) and not (len(devices) == 1 and chosen.runs(devices[0])):
        raise EngineUnfit(
            f"the package takes one set, and that verified: here it cannot be for {', '.join(devices)}: build into a "
            "store, and run `longtake engines verify` where the device is"
        )
    folder, reused = None, {}
    if isinstance(layer, Built):
        folder = layer.weights_folder
        reused = {device: await reuse.of_base(model, layer, chosen, device, adapters, kinds) for device in devices}
    work = partial(make, model, weights or model.weights, chosen, devices, say, precisions=kinds)
    sets = await in_daemon(partial(work, folder=folder, adapters=adapters, reused=reused))
    published = []
    for made in sets:
        if isinstance(layer, Prebuilt):
            layer.publish(made.manifest, made.engines)
            published.append(made.manifest)
        else:
            manifest = replace(made.manifest, papers=blobs.named(made.papers))
            await layer.publish(manifest, made.engines, made.papers)
            published.append(manifest)
    return published


def make(
    model: models.Model,
    weights: Files,
    runtime: Runtime,
    devices: Sequence[str],
    progress: Progress,
    *,
    precisions: Precisions,
    folder: WeightsFolder | None = None,
    adapters: Sequence[AdapterFile] = (),
    reused: Mapping[str, Mapping[str, Reused]] | None = None,
) -> list[Made]:
    """Read the weights and merge the adapters, export, lint, ask torch; then for each device compile, and verify where
    it is here. What is `reused`, by device and component, is verified alone.

    Large weights come to lie in `folder`, beside the graphs of a runtime that reads such, and stay there beside the
    engines of one that takes such.
    """
    demand_packages()
    try:
        runtime.version()
    except ImportError as error:
        raise EngineNotBuilt(f"{runtime.name} is not installed: pip install '{runtime.distribution}'") from error
    recorded = model.recorded or models.Recorded(models.digests_of_weights(weights))
    if not recorded.digests:
        raise EngineNotBuilt(f"{weights}: no weights (*.safetensors) to build engines of {model.name} from")
    if model.recorded:
        _demand_recorded(model, weights, recorded)
    digest = recorded.digest
    here = [device for device in devices if runtime.runs(device)]
    taken = {device: (reused or {}).get(device, {}) for device in devices}
    exported = [name for name in model.family.components if any(name not in there for there in taken.values())]
    compiled = sum(name not in there for there in taken.values() for name in exported)
    steps = Steps(progress, total=len(exported) + compiled + 2 + len(here))
    steps.begin("reading the weights")
    modules = modules_of(model, weights, recorded, adapters=adapters, tell=steps.tell)
    beside = folder if runtime.reads_weights_beside else None
    parts = _export(modules, exported, precisions, steps, beside)
    for name, part in parts.items():
        lint.lint(name, part.graph, part.weights, precision=precisions[name])
        for device in devices:
            lint.lint_for(name, part.graph, runtime, device)
    steps.begin("asking the torch reference")
    faces = {name: one.entry.spec.component for there in taken.values() for name, one in there.items()}
    faces |= {name: part.component for name, part in parts.items()}
    with reference_session(model, modules, faces, digest) as reference:
        answers = verify.record(model.family, reference)
    papers, sets = {blobs.ANSWERS: verify.packed(answers)}, []
    for device in devices:
        made = _compile(
            model, digest, modules, parts, precisions, runtime, device, answers, papers, steps, taken[device], folder
        )
        if device in here:
            steps.begin("verifying the engines")
            made = _verified(model, made, runtime, answers, folder)
        sets.append(made)
    steps.finish()
    return sets


def _demand_recorded(model: models.Model, weights: Files, recorded: models.Recorded) -> None:
    """Raise `EngineUnfit` unless the small files are those that the model was added with; large ones are compared as
    they are read."""
    for name, digest in recorded.digests.items():
        if not name.endswith(".safetensors") and digest_of(weights, name) != digest:
            raise EngineUnfit(
                f"{weights}: {name} is another: these are not the files that {model.name} was added with; bring those "
                "back, or add the checkpoint under another name"
            )


def modules_of(
    model: models.Model,
    weights: Files,
    recorded: models.Recorded,
    *,
    adapters: Sequence[AdapterFile] = (),
    tell: Callable[[str], None],
) -> Mapping[str, GraphSpec]:
    """As `graphs_of`, of what was recorded and nothing else, its adapters merged. `tell` is told how far it is.

    Raises `CheckpointUnfit` for other bytes.
    """
    total = sum(weights.size(name) for name in recorded.digests if name.endswith(".safetensors"))
    counted = Counted(weights, total, lambda done, of: tell(amount(done, of)))
    modules = graphs_of(model, counted, recorded.digests)
    for file, adapter in zip(adapters, recorded.adapters, strict=True):
        merge.merge(modules, model, file, adapter, tell)
    return modules


def graphs_of(model: models.Model, weights: Files, digests: Mapping[str, str] | None = None) -> Mapping[str, GraphSpec]:
    """The model's components as torch modules with these weights. Raises `EngineNotBuilt` where a package is missing,
    `EngineUnfit` for a family that has not the components that it names."""
    try:
        modules = model.family.graphs(weights, digests)
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


def demand_precisions(runtime: Runtime, devices: Sequence[str], precisions: Precisions) -> None:
    """Raise `EngineUnfit` for what this runtime cannot compute in on one of these devices."""
    for name, kind in precisions.items():
        for device in devices:
            problem = runtime.no_precision(kind, device)
            if problem is not None:
                raise EngineUnfit(f"--precision: {name} in {kind} for {runtime.name}-{device}: {problem}")


def missing_packages() -> list[str]:
    """Which of the packages that a build needs are not installed."""
    return [name for name in PACKAGES if importlib.util.find_spec(name) is None]


def demand_packages() -> None:
    """Raise `EngineNotBuilt` unless they all are."""
    absent = missing_packages()
    if absent:
        raise EngineNotBuilt(f"building engines needs {', '.join(absent)}: {INSTALL}")


def _export(
    modules: Mapping[str, GraphSpec],
    names: Sequence[str],
    precisions: Precisions,
    steps: Steps,
    folder: WeightsFolder | None,
) -> dict[str, Exported]:
    from engines.building import export

    result = {}
    for name in names:
        steps.begin(f"exporting {name}")
        result[name] = export.export(name, modules[name], folder, precision=precisions[name])
    return result


def _compile(
    model: models.Model,
    digest: str,
    modules: Mapping[str, GraphSpec],
    parts: Mapping[str, Exported],
    precisions: Precisions,
    runtime: Runtime,
    device: str,
    answers: Answers,
    papers: Mapping[str, bytes],
    steps: Steps,
    reused: Mapping[str, Reused],
    folder: WeightsFolder | None,
) -> Made:
    """All components for a device, compared with nothing yet."""
    entries, engines, bound_to = [], {}, runtime.bound_to()
    for name in model.family.components:
        if name in reused:
            entries.append(reused[name].entry)
            engines[name] = reused[name].engine
            continue
        part = parts[name]
        steps.begin(f"compiling {name} for {device}")
        spec = EngineSpec(
            model=model.name,
            weights_digest=digest,
            component=part.component,
            runtime=runtime.name,
            precision=precisions[name],
            profile=PROFILE,
            device=device,
        )
        kept = Kept(folder, runtime.name) if folder else None
        weights = Weights(folder.path, part.weights) if folder and part.weights else None
        source = Source(part.graph, partial(half.halved, modules[name], precisions[name]), weights, kept)
        files = part.weights if runtime.takes_weights_beside else ()
        engines[name] = engine = runtime.compile(source, spec, steps.tell)
        graph_digest = keys.digest_of(part.graph)
        entry = EngineEntry(
            key=keys.engine_key(
                spec,
                graph_digest=graph_digest,
                runtime_version=bound_to,
                weights=[file.sha256 for file in files],
            ),
            spec=spec,
            graph_digest=graph_digest,
            runtime_version=bound_to,
            sha256=keys.digest_of(engine),
            size=len(engine),
            parity=UNVERIFIED,
            weights=files,
        )
        entries.append(entry)
    manifest = Manifest(
        model=model.name,
        weights_digest=digest,
        engines=tuple(entries),
        runtime_versions=runtime.loads,
        verified_with={runtime.distribution: runtime.version(), **{name: version(name) for name in PACKAGES}},
        end_to_end=UNVERIFIED,
        probes=verify.as_probes(answers),
    )
    return Made(manifest, engines, papers)


def _verified(
    model: models.Model, made: Made, runtime: Runtime, answers: Answers, folder: WeightsFolder | None
) -> Made:
    """With its parity and its report. Raises `EngineUnfit` for engines that do not compute what torch does."""
    runners = {
        entry.component: runtime.runner(
            entry.spec.component,
            made.engines[entry.component],
            threads=cores(),
            weights=Weights(folder.path, entry.weights) if folder and entry.weights else None,
            device=made.manifest.device,
            kept=Kept(folder, entry.sha256) if folder else None,
        )
        for entry in made.manifest.engines
    }
    with Session(model.family, runners, digest=made.manifest.digest) as session:
        compared = verify.compare(model.family, session, answers, made.manifest)
    manifest = verify.certified(made.manifest, compared.parity)
    return Made(manifest, made.engines, {**made.papers, **report.papers(manifest, compared, "torch")})
