"""Whether the engines of a change are there: a change waits for the EngineBuilds of its models, before it is made."""

from __future__ import annotations

from collections.abc import Iterable

from operators.api.engine_build import EngineBuild
from operators.policies.build_state import finished
from operators.policies.state import Finding
from operators.policies.world import World


def engines_awaited(world: World, store: str, models: Iterable[str]) -> Finding | None:
    """What is to be waited for before these models of this store are served; of one that no EngineBuild is for,
    nothing."""
    for model in models:
        found = [(str(raw["metadata"]["name"]), EngineBuild.model_validate(raw)) for raw in world.builds]
        builds = [(name, one) for name, one in found if (one.spec.model, one.spec.store.url) == (model, store)]
        for name, one in builds:
            if not finished(one.status):
                return Finding(
                    "EnginesBuilding", f"EngineBuild {name} builds {model}: nothing is changed before its end"
                )
        if builds and not any(_ready(one) for _, one in builds):
            name, one = builds[-1]
            said = next((told.message for told in one.status.conditions if told.type == "Degraded"), "")
            return Finding(
                "EngineBuildFailed",
                f"EngineBuild {name}, which {model} waits for: {said}. Make another one, or remove it where the model "
                "came into the store without it",
                failing=True,
            )
    return None


def _ready(build: EngineBuild) -> bool:
    return any((told.type, told.status) == ("Ready", "True") for told in build.status.conditions)
