"""How a checkpoint in a volume comes into a pod that builds. `build_job.py` asks.

One in an image is copied out of it by an init container of that image. A volume of the kind `image` would need no
copy, but an API server without that feature, as 1.34's is unless it is switched on, drops the volume and its mount
without a word.
"""

from __future__ import annotations

from typing import Any

from operators.api.checkpoint import WEIGHTS, Weights
from operators.api.common import Grounds
from operators.children.pods import container_security

_VOLUME = "weights"


def weights_volume(weights: Weights | None) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Volumes of the pod, and mounts of the container that builds."""
    if weights is None:
        return [], []
    source: dict[str, Any] = {"emptyDir": {}}
    if weights.claim:
        source = {"persistentVolumeClaim": {"claimName": weights.claim, "readOnly": True}}
    return [{"name": _VOLUME, **source}], [{"name": _VOLUME, "mountPath": WEIGHTS, "readOnly": True}]


def copied(weights: Weights | None, spec: Grounds) -> list[dict[str, Any]]:
    """The init container that copies it out of an image, where it is in one."""
    if weights is None or weights.image is None:
        return []
    return [
        {
            "name": "checkpoint",
            "image": weights.image,
            "imagePullPolicy": spec.image.pull_policy,
            "securityContext": container_security(),
            "command": ["cp", "-R", f"{weights.path.rstrip('/')}/.", WEIGHTS],
            "terminationMessagePolicy": "FallbackToLogsOnError",
            "volumeMounts": [{"name": _VOLUME, "mountPath": WEIGHTS}],
        }
    ]
