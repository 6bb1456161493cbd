"""A change of a service on its way: which version is to be made at this look. `reconcile.py` asks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from operators import revisions
from operators.api.base import Condition
from operators.api.engine_build import KIND as BUILD
from operators.api.rollout import RolloutStatus, State
from operators.api.video_model import KIND as MODEL
from operators.api.video_service import Spec, VideoService
from operators.apply import applied
from operators.children.desired import desired
from operators.children.routes import API_VERSION as ROUTES
from operators.children.settings import settings_of
from operators.cluster import Cluster, Object
from operators.of_models import OfModel
from operators.policies import redeploys
from operators.policies.engines import Making, engines_awaited
from operators.policies.replay import Replay, replayed
from operators.policies.rollout import Seen, begins, decide, going, late, look_again_s
from operators.policies.state import Finding, conditions, lacking
from operators.policies.versions import Versions
from operators.policies.world import World
from serving.errors import SettingsError

_FAILS = ("Degraded", "True")


class Change:
    """From what served last to what is wanted. `asked` is the spec as the API server has it."""

    def __init__(self, cluster: Cluster, world: World, service: VideoService, asked: Mapping[str, Any]) -> None:
        self._cluster, self._world, self._service = cluster, world, service
        self._wanted = revisions.revision_of(world.owner, asked)
        self._stable = revisions.last(cluster, world.owner)
        stable = Spec.model_validate(self._stable.spec) if self._stable else None
        self.redeploys = redeploys.redeployed(service.status.redeploys, world.given_up, world.now)
        self.versions = Versions(world.owner, service.spec, stable, self.redeploys.generations)
        self._wrong = self._settings()
        self._held: Finding | None = None

    def decided(self) -> RolloutStatus:
        """How it goes on. A version that has come to serve is kept, to be gone back to."""
        before = self._service.status.rollout
        seen = self._seen(before)
        if begins(before, seen):
            self._held = self._waits_for()
        rollout = decide(before, replace(seen, held=self._held))
        if rollout.state == "Complete" and (self._stable is None or self._stable.name != self._wanted.name):
            revisions.keep(self._cluster, self._world.owner, self._wanted)
        return rollout

    def objects(self, state: State, cluster: str) -> list[Object]:
        """All children while it is in this state. A replay stays until its outcome is in the status: it is nowhere
        else. Raises `SettingsError`."""
        made = self.versions.objects(state, cluster)
        ended = self._service.status.rollout.state == "Analysing" != state
        return [*made, *(job for job in self.versions.replay if self._live(job))] if ended else made

    def conditions(self, world: World, trouble: Finding | None, rollout: RolloutStatus) -> list[Condition]:
        """What is told of the service while it goes so, of what `world` has now."""
        return conditions(
            replace(world, fresh=self.versions.fresh(rollout.state)),
            trouble,
            self._service.status,
            held=self._held if rollout.state == "Held" else None,
            going=going(rollout, self._stable is not None),
            late=late(rollout, self._service.spec.rollout, world.now),
        )

    def look_again_s(self, rollout: RolloutStatus) -> float:
        """Seconds until it is to be looked at though nothing happened."""
        again_s = look_again_s(rollout, self._service.spec.rollout, self._world.now)
        return min(again_s, redeploys.look_again_s(self.redeploys, self._world.now))

    def _seen(self, before: RolloutStatus) -> Seen:
        replay = self._replay(before)
        same_stages = self._wrong is None and self.versions.same_stages
        return Seen(
            generation=self._world.generation,
            wanted=self._wanted.name,
            stable=self._stable.name if self._stable else "",
            asked=self._service.spec.rollout,
            now=self._world.now,
            lacks=replay.lacks if replay else self._lacks(before),
            given_up=bool(self._world.given_up) and not same_stages,
            differs=replay is not None and replay.differs,
            unfit=replay is not None and replay.unfit,
            analysis=replay.words if replay else "",
            same_stages=same_stages,
        )

    def _settings(self) -> Finding | None:
        """What is wrong with those that are wanted: nothing is made of them."""
        try:
            desired(self._world.owner, self.versions.wanted, "")
        except SettingsError as error:
            return Finding("SettingsInvalid", error.message, failing=True)
        return None

    def _waits_for(self) -> Finding | None:
        """What keeps it from being begun."""
        if self._wrong is not None or self.versions.same_stages:
            return self._wrong
        spec = self.versions.wanted
        models, namespace = settings_of(spec).served, self._world.owner.namespace

        def seek(of_model: OfModel) -> Finding | None:
            made_by = (
                Making(model, of_model(BUILD, namespace, model), of_model(MODEL, namespace, model)) for model in models
            )
            return engines_awaited(spec.store.url, made_by)

        return self._cluster.of_models.awaited(seek)

    def _replay(self, before: RolloutStatus) -> Replay | None:
        """How it stands; None where the step under way is another one, or the replay was taken out of it."""
        if before.state != "Analysing" or before.to_revision != self._wanted.name or self._wrong is not None:
            return None
        if not (jobs := self.versions.replay):
            return Replay(None)
        live = self._live(jobs[0])
        if live is None and (trouble := self._told_failing()):
            return Replay(Finding("ReplayWaits", trouble))
        return replayed(live, self._world.pods, self._world.now)

    def _live(self, job: Object) -> Mapping[str, Any] | None:
        return self._world.children.get(("Job", job["metadata"]["name"]))

    def _told_failing(self) -> str:
        told = (told.message for told in self._service.status.conditions if (told.type, told.status) == _FAILS)
        return next(told, "")

    def _lacks(self, before: RolloutStatus) -> Finding | None:
        """What the step lacks that was under way at the last look."""
        if self._wrong is not None:
            return self._wrong
        world = self._world
        made = self.versions.objects(before.state, world.active_cluster)
        if applied(world, [child for child in made if world.routes or child["apiVersion"] != ROUTES]):
            doors = before.state == "FrontDoorsRolling" or self._stable is None
            return lacking(world, doors=doors, stages=not self.versions.same_stages)
        return Finding("ChangeMade", self._told_failing() or "it is about to be made")
