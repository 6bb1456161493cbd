"""A VideoModel on a real API server: it is asked for, looked at, and the test plays who builds."""

from __future__ import annotations

import copy
import json
from typing import Any

from operators.api.base import API_VERSION
from operators.builds import reconcile_build
from operators.models import reconcile_model
from tests.integration.kube import Kube
from tests.integration.test_engine_build import SPEC as BUILD

SPEC: dict[str, Any] = {name: BUILD[name] for name in ("image", "store", "trustedKeys", "signingKeySecret")} | {
    "source": {"uri": BUILD["source"]}
}
PINNED = f"registry.example/wan@sha256:{'a' * 64}"
GPU = {"name": "ada", "runtime": "tensorrt_rtx", "targets": ["sm89"]}
STYLE = {"uri": "s3://h/b/style.safetensors", "scale": 0.5}
BEGUN = "2026-11-27T00:00:00Z"


def ask(cluster: Kube, *, named: str = "wan-1.3b", **changes: Any) -> None:
    spec = {name: value for name, value in (copy.deepcopy(SPEC) | changes).items() if value is not None}
    cluster.apply(cluster.object(API_VERSION, "VideoModel", named, spec=spec), manager="test")


def look(cluster: Kube, named: str = "wan-1.3b") -> dict[str, Any]:
    """Conditions by type, after one look."""
    assert reconcile_model(cluster, cluster.namespace, named, {})
    return {one["type"]: one for one in status(cluster, named)["conditions"]}


def status(cluster: Kube, named: str = "wan-1.3b") -> dict[str, Any]:
    found: dict[str, Any] = cluster.live(API_VERSION, "VideoModel", named)["status"]
    return found


def builds(cluster: Kube) -> list[str]:
    return [one["metadata"]["name"] for one in cluster.find(API_VERSION, "EngineBuild", cluster.namespace, "")]


def built(cluster: Kube, name: str, *, variants: tuple[str, ...] = ("onnxruntime-cpu",)) -> None:
    """What the Job's controller and the kubelet tell of one that came to its end."""
    assert reconcile_build(cluster, cluster.namespace, name, {})
    shown = {
        "family": "wan",
        "weights_digest": "d" * 64,
        "variants": [{"variant": one, "digest": "e" * 64, "verified": True} for one in variants],
        "canvases": [{"aspect_ratio": "16:9", "width": 832, "height": 480}],
        "fps": 16,
        "seconds": {"min": 1, "max": 60, "default": 5},
        "extension": True,
        "references_max": 0,
        "first_frame": True,
        "image": False,
        "negative_prompt": True,
    }
    container = {"name": "engine-build", "image": "a", "imageID": "", "ready": False, "restartCount": 0}
    ended = {"exitCode": 0, "message": json.dumps(shown), "startedAt": BEGUN, "finishedAt": BEGUN}
    spec = {"containers": [{"name": "engine-build", "image": "a"}]}
    labels = {"longtake.dev/engine-build": name}
    cluster.apply(cluster.object("v1", "Pod", f"{name}-pod", labels=labels, spec=spec))
    pod = cluster.live("v1", "Pod", f"{name}-pod")
    cluster.tell(pod, phase="Succeeded", containerStatuses=[{**container, "state": {"terminated": ended}}])
    finish(cluster, f"{name}-build")
    assert reconcile_build(cluster, cluster.namespace, name, {})


def finish(cluster: Kube, job: str, reason: str = "") -> None:
    """A Job comes to its end."""
    told = {"type": "Failed" if reason else "Complete", "status": "True", "reason": reason or "CompletionsReached"}
    told |= {"lastTransitionTime": BEGUN, "lastProbeTime": BEGUN}
    first = {**told, "type": "FailureTarget" if reason else "SuccessCriteriaMet"}
    ends = {} if reason else {"completionTime": BEGUN, "succeeded": 1}
    live = cluster.live("batch/v1", "Job", job)
    cluster.tell(live, conditions=[first, told], startTime=BEGUN, uncountedTerminatedPods={}, **ends)
