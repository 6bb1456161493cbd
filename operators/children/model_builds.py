"""The EngineBuilds of a VideoModel: what adds it, what adapts it, and one for each kind of device.

A build reads what one before it put into the store, so they come in stages. `policies/model_plan.py` compares them with
what is there.
"""

from __future__ import annotations

from typing import Any

from operators.api import engine_build
from operators.api.base import API_VERSION, Placement, Resources
from operators.api.checkpoint import WEIGHTS
from operators.api.video_model import ADAPT, ADD, KIND, Devices, Source, Spec
from operators.children.names import MODEL, Owner

Stages = list[dict[str, engine_build.Spec]]
"""By name of the EngineBuild; those of a stage stand on all of the stages before it."""


def called(name: str, spec: Spec) -> str:
    """What requests call the model of a VideoModel of this name."""
    return spec.model or name


def stages(owner: Owner, spec: Spec) -> Stages:
    """All that is to be built."""
    model = called(owner.name, spec)
    base, _, adapted = model.partition("+")
    source, weights = _where(spec.source)
    # Without devices the precision is of the engines that adding it builds.
    common = {"weights": weights, "precision": None if spec.builds else spec.precision}
    sizes = {"canvases": spec.canvases, "seconds": spec.seconds}
    made: Stages = [{f"{owner.name}-{ADD}": _build(spec, base, spec, spec.resources, source=source, **sizes, **common)}]
    if adapted:
        merged = {**common, "adapters": spec.adapters}
        made.append({f"{owner.name}-{ADAPT}": _build(spec, model, spec, spec.resources, **merged)})
    devices = {f"{owner.name}-{one.name}": _for(spec, model, one, weights) for one in spec.builds}
    return [*made, devices] if devices else made


def engine_build_of(owner: Owner, name: str, spec: engine_build.Spec) -> dict[str, Any]:
    """The whole object."""
    reference = {"apiVersion": API_VERSION, "kind": KIND, "name": owner.name, "uid": owner.uid}
    return {
        "apiVersion": API_VERSION,
        "kind": engine_build.KIND,
        "metadata": {
            "name": name,
            "namespace": owner.namespace,
            "labels": {MODEL: owner.name, **owner.queued},
            "ownerReferences": [{**reference, "controller": True, "blockOwnerDeletion": True}],
        },
        "spec": spec.model_dump(by_alias=True, exclude_none=True),
    }


def _for(spec: Spec, model: str, one: Devices, weights: dict[str, str] | None) -> engine_build.Spec:
    what = {"weights": weights, "precision": spec.precision, "runtime": one.runtime, "targets": one.targets}
    return _build(spec, model, one, one.resources, **what)


def _build(spec: Spec, model: str, placement: Placement, resources: Resources, **what: Any) -> engine_build.Spec:
    return engine_build.Spec.model_validate(
        {
            "image": spec.image,
            "store": spec.store,
            "trusted_keys": spec.trusted_keys,
            "signing_key_secret": spec.signing_key_secret,
            "deadline_seconds": spec.deadline_seconds,
            "node_selector": placement.node_selector,
            "tolerations": placement.tolerations,
            "resources": resources,
            "model": model,
            **what,
        }
    )


def _where(source: Source) -> tuple[str, dict[str, str] | None]:
    """What the model is added from, and the volume that has it."""
    if source.image:
        return WEIGHTS, {"image": source.image, **({"path": source.path} if source.path else {})}
    uri = str(source.uri)
    if uri.startswith("s3://"):
        return uri, None
    claim, _, folder = uri.removeprefix("pvc://").partition("/")
    return f"{WEIGHTS}/{folder}".rstrip("/"), {"claim": claim}
