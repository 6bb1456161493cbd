"""What is made of a service while it changes: of the version that served last, of the wanted one, or of both."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from operators.api.rollout import State
from operators.api.video_service import SHIPPED, Spec
from operators.children.desired import desired
from operators.children.names import Owner
from operators.children.ray import ray_service
from operators.children.replay_job import replay_job
from operators.children.settings import settings_of
from serving.deployments.declared import application_of
from serving.settings import Settings
from serving.stage_settings import OF_ENGINES

Object = dict[str, Any]
_BOUNDS = ("replicas", "minReplicas", "maxReplicas")
"""Of a worker group: another number makes no new cluster."""


@dataclass(frozen=True)
class Versions:
    """Both of a service."""

    owner: Owner
    wanted: Spec
    stable: Spec | None
    """What served last; None where nothing ever did."""
    generations: Mapping[str, int] = field(default_factory=dict)
    """Of Ray's applications."""

    def objects(self, state: State, cluster: str) -> list[Object]:
        """All children while a change is in this state; none where none are to be touched. `cluster`: as `desired` has
        it. Raises `SettingsError`."""
        if self.stable is None:
            return [] if state == "Held" else self._desired(self.wanted, cluster)
        if state in ("Held", "RolledBack"):
            return self._desired(self.stable, cluster)
        if state == "Analysing":
            return [*self._desired(self.stable, cluster), *self.replay]
        if state == "Complete":
            return self._desired(self.wanted, cluster)
        doors = self.wanted if state == "FrontDoorsRolling" else self.stable
        return self._desired(self._beside(self.stable), cluster, doors)

    def serving(self, state: State) -> Spec:
        """By which clients are served in this state."""
        before = self.stable is not None and state in ("Held", "Analysing", "StagesStarting", "RolledBack")
        return self.stable if before and self.stable else self.wanted

    def fresh(self, state: State) -> frozenset[str]:
        """Ray's applications that are of the wanted version alone, while both are there."""
        if self.stable is None or state not in ("StagesStarting", "FrontDoorsRolling"):
            return frozenset()
        old = settings_of(self.stable).served
        return frozenset(application_of(model) for model in settings_of(self.wanted).served if model not in old)

    def replaced(self, state: State) -> bool:
        """Whether pods of the version before are to go now, for which younger ones have come."""
        if self.stable is None or state != "Complete":
            return False
        return not set(settings_of(self.wanted).served) <= set(settings_of(self.stable).served)

    @property
    def replay(self) -> list[Object]:
        """The Job that makes finished videos again; none where none is asked for."""
        return [replay_job(self.owner, self.wanted)] if self.wanted.rollout.analysis.videos else []

    @property
    def same_stages(self) -> bool:
        """Whether a change is one of front doors alone. Raises `SettingsError`."""
        if self.stable is None:
            return False
        return _ray(self.owner, self.wanted) == _ray(self.owner, self.stable)

    def _desired(self, spec: Spec, cluster: str, doors: Spec | None = None) -> list[Object]:
        return desired(self.owner, spec, cluster, doors, self.generations)

    def _beside(self, stable: Spec) -> Spec:
        """The wanted version, with those models as they are that it takes away: they serve until it does. Where another
        Ray cluster comes for it, they go on in the old one."""
        new, old = settings_of(self.wanted), settings_of(stable)
        shipped = any(model in SHIPPED for model in new.served)
        leaving = [
            model for model in old.served if model not in new.served and not (shipped and model in SHIPPED)
        ]  # of two names of one model, one can be served
        if not leaving or _template(_ray(self.owner, self.wanted)) != _template(_ray(self.owner, stable)):
            return self.wanted
        models = {**self.wanted.settings.get("models", {}), **{model: _as_it_is(old, model) for model in leaving}}
        return self.wanted.model_copy(update={"settings": {**self.wanted.settings, "models": models}})


def _as_it_is(settings: Settings, model: str) -> dict[str, Any]:
    """A model's settings, with all that it has in common with others."""
    one = settings.of(model)
    stages = one.stages.model_dump(mode="json", include={"replicas", "scale", "needs", "engine_threads", "slots"})
    return {**stages, **one.engines.model_dump(include=set(OF_ENGINES))}


def _ray(owner: Owner, spec: Spec) -> Object:
    return ray_service(owner, spec, settings_of(spec))


def _template(ray: Object) -> Object:
    """What KubeRay makes another cluster for."""
    cluster = copy.deepcopy(ray["spec"]["rayClusterConfig"])
    for group in cluster["workerGroupSpecs"]:
        for name in _BOUNDS:
            group.pop(name)
    found: Object = cluster
    return found
