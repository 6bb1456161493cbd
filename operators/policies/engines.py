"""Whether the engines of a change are there: a change waits for the EngineBuilds and VideoModels of its models, before
it is made."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from operators.api.engine_build import EngineBuild
from operators.api.video_model import VideoModel
from operators.children.model_builds import called
from operators.policies.build_state import finished, ready
from operators.policies.model_state import ENGINES_READY
from operators.policies.state import Finding
from operators.policies.world import Object


@dataclass(frozen=True)
class Making:
    """What makes one model, as the API server has it."""

    model: str
    builds: Iterable[Object] = ()
    """EngineBuilds that may be for it."""
    models: Iterable[Object] = ()
    """VideoModels that may be."""


def engines_awaited(store: str, making: Iterable[Making]) -> Finding | None:
    """What is to be waited for before these models of this store are served; of one that no EngineBuild and
    no VideoModel is for, nothing."""
    for one in making:
        if lacks := _lacking(one, store) or _building(one, store):
            return lacks
    return None


def _building(making: Making, store: str) -> Finding | None:
    """What the EngineBuilds lack."""
    model = making.model
    found = [(str(raw["metadata"]["name"]), EngineBuild.model_validate(raw)) for raw in making.builds]
    builds = [(name, one) for name, one in found if (one.spec.model, one.spec.store.url) == (model, store)]
    for name, one in builds:
        if not finished(one.status):
            return Finding("EnginesBuilding", f"EngineBuild {name} builds {model}: nothing is changed before its end")
    if builds and not any(ready(one.status) for _, one in builds):
        name, one = builds[-1]
        said = next((told.message for told in one.status.conditions if told.type == "Degraded"), "")
        return Finding(
            "EngineBuildFailed",
            f"EngineBuild {name}, which {model} waits for: {said}. Make another one, or remove it where the model "
            "came into the store without it",
            failing=True,
        )
    return None


def _lacking(making: Making, store: str) -> Finding | None:
    """What a VideoModel lacks that this model is of."""
    model = making.model
    for raw in making.models:
        name, one = str(raw["metadata"]["name"]), VideoModel.model_validate(raw)
        if (called(name, one.spec), one.spec.store.url) != (model, store):
            continue
        told = {condition.type: condition for condition in one.status.conditions}
        current = one.status.observed_generation == raw["metadata"]["generation"]
        if not current or ENGINES_READY not in told:
            return Finding("EnginesBuilding", f"VideoModel {name} is looked at: nothing is changed before its end")
        if told[ENGINES_READY].status != "True":
            failing = told["Degraded"].status == "True"
            said = f"VideoModel {name}, which {model} waits for: {told[ENGINES_READY].message}"
            return Finding("ModelFailed" if failing else "EnginesBuilding", said, failing=failing)
    return None
