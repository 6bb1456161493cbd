"""One look at one EngineBuild: make its Job once, and tell how it goes. `controller.py` calls it, as `reconcile.py`."""

from __future__ import annotations

from datetime import UTC, datetime
from math import inf

from kubernetes.client.exceptions import ApiException

from operators.api.base import API_VERSION
from operators.api.engine_build import KIND, EngineBuild, Status
from operators.apply import Known
from operators.children.build_job import build_job
from operators.children.names import BUILD, Owner
from operators.cluster import Cluster, Object
from operators.of_models import OfModel
from operators.policies.build_report import reported
from operators.policies.build_state import build_conditions, finished
from operators.policies.state import Finding, moment
from operators.reconcile import LASTING, told
from operators.status import write

BASE_IN_WORK = "BaseInWork"
BASE_LOOK_S = 10.0
"""Between looks at one that waits for another: that takes minutes, and its events wake itself alone."""


def reconcile_build(cluster: Cluster, namespace: str, name: str, known: Known) -> float | None:  # noqa: ARG001
    """As `reconcile` has it: nothing happens to a build without an event, unless it waits for another one. Raises
    `ApiException` for what may be over soon."""
    live = cluster.get(API_VERSION, KIND, namespace, name)
    if live is None or live["metadata"].get("deletionTimestamp"):
        return None if live is None else inf
    build = EngineBuild.model_validate(live)
    owner, now = Owner.of(live), datetime.now(UTC)
    job, trouble = _job(cluster, owner, build)
    pods = cluster.find("v1", "Pod", namespace, f"{BUILD}={name}")
    generation = live["metadata"]["generation"]
    after = Status(
        observed_generation=generation,
        conditions=build_conditions(
            job,
            pods,
            build.status,
            targets=build.spec.targets or (),
            generation=generation,
            now=now,
            trouble=trouble,
        ),
        report=build.status.report or reported(pods),
    )
    write(cluster, owner, live, build.status, after, moment(now))
    return BASE_LOOK_S if trouble is not None and trouble.reason == BASE_IN_WORK else inf


def _job(cluster: Cluster, owner: Owner, build: EngineBuild) -> tuple[Object | None, Finding | None]:
    """Its Job, made where there is none yet; and what keeps it from being made, where that stays."""
    found = cluster.get("batch/v1", "Job", owner.namespace, owner.job)
    if found is not None:
        owners = found["metadata"].get("ownerReferences") or ()
        if any(reference["uid"] == owner.uid for reference in owners):
            return found, None
        if any(reference.get("kind") == KIND for reference in owners):
            return None, None  # of one of this name that was deleted: it goes, and then there is an event
        return None, Finding("NameTaken", f"there is a Job {owner.job}, another's: choose another name", failing=True)
    if finished(build.status):
        return None, None
    if base := _base_in_work(cluster, owner, build):
        return None, Finding(BASE_IN_WORK, f"EngineBuild {base} builds what the adapters are merged into")
    try:
        return cluster.apply(build_job(owner, build.spec)), None
    except ApiException as error:
        if error.status in LASTING:
            return None, Finding("ApplyRefused", told(error), failing=True)
        raise


def _base_in_work(cluster: Cluster, owner: Owner, build: EngineBuild) -> str:
    """The name of the build that this one's base comes from, while it is at work; empty where there is none."""
    if not build.spec.adapters:
        return ""
    base, store = build.spec.model.partition("+")[0], build.spec.store.url

    def seek(of_model: OfModel) -> str:
        for found in of_model(KIND, owner.namespace, base):
            other = EngineBuild.model_validate(found)
            same = (other.spec.model, other.spec.store.url) == (base, store)
            if same and other.spec.source and not finished(other.status):
                return str(found["metadata"]["name"])
        return ""

    return cluster.of_models.awaited(seek)
