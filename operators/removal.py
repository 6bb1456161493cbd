"""A VideoModel with `deletionPolicy: Delete` goes: first what it builds, then the model from its store, then itself.

Each look does the next step that is due, so it may be killed between any two. `models.py` calls it while a finalizer
of ours is there.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence

from kubernetes.client.exceptions import ApiException

from operators import revisions
from operators.api.base import API_VERSION
from operators.api.video_model import KIND, Spec
from operators.api.video_service import KIND as SERVICE
from operators.api.video_service import Spec as Service
from operators.api.video_service import VideoService
from operators.children.model_builds import called
from operators.children.names import BUILD, MODEL, Owner
from operators.children.removal_job import removal_job
from operators.children.settings import settings_of
from operators.cluster import Cluster, Object
from operators.finalizers import finalize
from operators.policies.build_state import ended, said_last
from operators.policies.model_plan import owned
from operators.policies.state import Finding
from operators.reconcile import LASTING, told
from serving.errors import SettingsError

LOOK_S = 5.0
"""Between two looks at one that goes."""
_STAY = "or leave the model in the store: set spec.deletionPolicy to Retain"
_log = logging.getLogger("longtake.operator")


def removed(cluster: Cluster, owner: Owner, spec: Spec, builds: Mapping[str, Object]) -> Finding | None:
    """What it waits for; None when it was let go. Raises `ApiException` for what may be over soon."""
    if spec.deletion_policy == "Delete" and (waits := _waits(cluster, owner, spec, builds)):
        return waits
    finalize(cluster, KIND, owner)
    return None


def _waits(cluster: Cluster, owner: Owner, spec: Spec, builds: Mapping[str, Object]) -> Finding | None:
    if service := _serves(cluster, owner, spec):
        said = f"VideoService {service} serves it: have it serve another model first, {_STAY}"
        return Finding("InUse", said, failing=True)
    ours = [one for one in builds.values() if owned(one, owner.uid)]
    for one in ours:
        if not one["metadata"].get("deletionTimestamp"):
            cluster.delete(
                one, propagationPolicy="Foreground"
            )  # it stays until its pods have gone, who write into the store
    if ours:
        return Finding("BuildsEnd", f"EngineBuild {ours[0]['metadata']['name']} and its pods end first")
    try:
        job = cluster.get("batch/v1", "Job", owner.namespace, owner.removal) or cluster.apply(removal_job(owner, spec))
    except ApiException as error:
        if error.status not in LASTING:
            raise
        if _namespace_goes(error):
            _log.warning("%s/%s: its namespace goes, and the model stays in the store", owner.namespace, owner.name)
            return None
        return Finding("ApplyRefused", f"{told(error)}; mend that, {_STAY}", failing=True)
    return _unfinished(cluster, owner, job)


def _unfinished(cluster: Cluster, owner: Owner, job: Object) -> Finding | None:
    """Why the Job has not removed it; None when it has."""
    if not owned(job, owner.uid):
        said = f"there is a Job {owner.removal}, another's, where the one that removes it is to be: delete it, {_STAY}"
        return Finding("NameTaken", said, failing=True)
    if ended(job, "Complete"):
        return None
    if ended(job, "Failed"):
        said = said_last(cluster.find("v1", "Pod", owner.namespace, f"{MODEL}={owner.name},!{BUILD}"))
        what = f"Job {owner.removal} failed: {said or 'it told nothing'}. Delete it to have it tried again, {_STAY}"
        return Finding("RemovalFailed", what, failing=True)
    return Finding("Removing", f"Job {owner.removal} takes it out of the store")


def _serves(cluster: Cluster, owner: Owner, spec: Spec) -> str:
    """A VideoService of this namespace and store that names the model, or serves it still while a change of it is under
    way or was taken back; empty where there is none."""
    for found in cluster.find(API_VERSION, SERVICE, owner.namespace, ""):
        wanted, stable = VideoService.model_validate(found).spec, revisions.last(cluster, Owner.of(found))
        before = Service.model_validate(stable.spec) if stable else wanted
        served = {*_served(wanted), *_served(before)}
        if wanted.store.url == spec.store.url and called(owner.name, spec) in served:
            return str(found["metadata"]["name"])
    return ""


def _served(service: Service) -> Sequence[str]:
    try:
        return settings_of(service).served
    except SettingsError:  # told of at the service, which serves what it did before
        return (service.model,)


def _namespace_goes(error: ApiException) -> bool:
    causes = json.loads(error.body or "{}").get("details", {}).get("causes") or ()
    return any(cause.get("reason") == "NamespaceTerminating" for cause in causes)
