"""The Job that takes a model out of its store, before its VideoModel goes. `removal.py` makes it."""

from __future__ import annotations

from typing import Any

from operators.api.base import API_VERSION, Resources
from operators.api.video_model import KIND, Spec
from operators.children.build_job import tries
from operators.children.model_builds import called
from operators.children.names import APP, COMPONENT, FIELD_MANAGER, MANAGER, MODEL, NAME, Owner
from operators.children.pods import container, environment, placed, trusted_keys, trusted_volume

COMPONENT_NAME = "model-removal"
_LITTLE = Resources.model_validate({"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"memory": "1Gi"}})


def removal_job(owner: Owner, spec: Spec) -> dict[str, Any]:
    """The whole object."""
    labels = {NAME: APP, COMPONENT: COMPONENT_NAME, MANAGER: FIELD_MANAGER, MODEL: owner.name}
    reference = {"apiVersion": API_VERSION, "kind": KIND, "name": owner.name, "uid": owner.uid}
    volumes, mounts = trusted_volume(spec)
    variables = {"LONGTAKE_STORE": spec.store.url, "LONGTAKE_ENGINES__TRUSTED_KEYS": trusted_keys(spec)}
    remove = {
        **container(COMPONENT_NAME, spec, _LITTLE),
        "command": ["longtake", "models", "rm", called(owner.name, spec), "--force"],
        "env": environment(spec, **variables),
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}, *mounts],  # noqa: S108
    }
    pod = {
        **placed(spec, spec, _LITTLE),
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "containers": [remove],
        "volumes": [{"name": "tmp", "emptyDir": {}}, *volumes],
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": owner.removal,
            "namespace": owner.namespace,
            "labels": labels | owner.queued,
            "ownerReferences": [{**reference, "controller": True, "blockOwnerDeletion": True}],
        },
        "spec": {**tries(), "template": {"metadata": {"labels": labels}, "spec": pod}},
    }
