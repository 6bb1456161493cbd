"""One look at one VideoModel: make the EngineBuilds that are missing, and tell how all of them are.

`controller.py` calls it, as `reconcile.py`: whenever one of its EngineBuilds changed, and now and then anyway.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from math import inf

from kubernetes.client.exceptions import ApiException

from operators.api.base import API_VERSION
from operators.api.engine_build import KIND as BUILD
from operators.api.video_model import FINALIZER, KIND, Status, VideoModel
from operators.apply import Known
from operators.children.model_builds import called, engine_build_of, stages
from operators.children.names import MODEL, Owner
from operators.cluster import Cluster, Object
from operators.finalizers import finalize
from operators.policies.model_plan import Plan, planned
from operators.policies.model_state import going_status, model_status
from operators.policies.state import Finding, moment
from operators.reconcile import LASTING, told
from operators.removal import LOOK_S, removed
from operators.status import write


def reconcile_model(cluster: Cluster, namespace: str, name: str, known: Known) -> float | None:  # noqa: ARG001
    """As `reconcile` has it. Raises `ApiException` for what may be over soon."""
    live = cluster.get(API_VERSION, KIND, namespace, name)
    if live is None:
        return None
    model, owner, now = VideoModel.model_validate(live), Owner.of(live), datetime.now(UTC)
    builds = _builds(cluster, owner, model)
    generation = live["metadata"]["generation"]
    owns = FINALIZER in (live["metadata"].get("finalizers") or ())
    if live["metadata"].get("deletionTimestamp"):
        waits = removed(cluster, owner, model.spec, builds) if owns else None
        if waits is None:
            return inf
        after, again_s = going_status(waits, model.status, generation=generation, now=now), LOOK_S
    else:
        if owns != (model.spec.deletion_policy == "Delete"):
            finalize(cluster, KIND, owner, *(() if owns else (FINALIZER,)))
        after, again_s = _brought_about(cluster, owner, model, builds, generation, now), inf
    write(cluster, owner, live, model.status, after, moment(now))
    return again_s


def _builds(cluster: Cluster, owner: Owner, model: VideoModel) -> Mapping[str, Object]:
    """EngineBuilds by name: those with its label, and whosever has the name of one that is wanted."""
    labelled = cluster.find(API_VERSION, BUILD, owner.namespace, f"{MODEL}={owner.name}")
    found = {one["metadata"]["name"]: one for one in labelled}
    names = {name for stage in stages(owner, model.spec) for name in stage}
    others = (cluster.get(API_VERSION, BUILD, owner.namespace, name) for name in sorted(names - set(found)))
    return found | {one["metadata"]["name"]: one for one in others if one is not None}


def _brought_about(
    cluster: Cluster, owner: Owner, model: VideoModel, builds: Mapping[str, Object], generation: int, now: datetime
) -> Status:
    """The next step of what is wanted, and how it is then."""
    plan = planned(stages(owner, model.spec), builds, owner.uid)
    return model_status(
        plan,
        model.status,
        model=called(owner.name, model.spec),
        family=model.spec.family,
        generation=generation,
        now=now,
        trouble=_make(cluster, owner, plan),
    )


def _make(cluster: Cluster, owner: Owner, plan: Plan) -> Finding | None:
    """Make and remove EngineBuilds; what keeps them from being made, where that stays."""
    for live in plan.remove:
        cluster.delete(live)
    if plan.taken:
        return Finding(
            "NameTaken",
            f"there is an EngineBuild {plan.taken}, another's: remove it, or give the VideoModel another name",
            failing=True,
        )
    try:
        for name, spec in plan.make.items():
            cluster.apply(engine_build_of(owner, name, spec))
    except ApiException as error:
        if error.status in LASTING:
            return Finding("ApplyRefused", told(error), failing=True)
        raise
    return None
