"""The Job that waits for what runs, before a VideoService goes: `longtake jobs drain`. `draining.py` makes it."""

from __future__ import annotations

from typing import Any

from operators.api.base import API_VERSION, Resources
from operators.api.video_service import KIND, Spec
from operators.children.build_job import tries
from operators.children.names import Owner
from operators.children.pods import container, environment, placed

DRAIN = "drain"
"""The component."""
_LITTLE = Resources.model_validate({"requests": {"cpu": "50m", "memory": "128Mi"}, "limits": {"memory": "512Mi"}})


def drain_job(owner: Owner, spec: Spec) -> dict[str, Any]:
    """The whole object."""
    labels = owner.labels(DRAIN)
    reference = {"apiVersion": API_VERSION, "kind": KIND, "name": owner.name, "uid": owner.uid}
    waits = {
        **container(DRAIN, spec, _LITTLE),
        "command": ["longtake", "jobs", "drain", "--within", f"{spec.drain.timeout_seconds}s"],
        "env": environment(spec, LONGTAKE_STORE=spec.store.url),
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],  # noqa: S108
    }
    pod = {
        **placed(spec, spec.front_door, _LITTLE),
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "containers": [waits],
        "volumes": [{"name": "tmp", "emptyDir": {}}],
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": owner.drain,
            "namespace": owner.namespace,
            "labels": labels,
            "ownerReferences": [{**reference, "controller": True, "blockOwnerDeletion": True}],
        },
        "spec": {**tries(), "template": {"metadata": {"labels": labels}, "spec": pod}},
    }
