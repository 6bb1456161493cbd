"""EngineBuilds on a real API server: bad ones are refused, each has one Job, and its end is told for good."""

from __future__ import annotations

import copy
import secrets
from math import inf
from pathlib import Path
from typing import Any

import pytest
from kubernetes.client.exceptions import ApiException

from operators.api.base import API_VERSION
from operators.builds import BASE_LOOK_S, reconcile_build
from tests import kubernetes
from tests.integration.kube import SPEC as SERVICE
from tests.integration.kube import Kube, operator, until

pytestmark = [
    pytest.mark.skipif(bool(kubernetes.missing()), reason=f"not on the PATH: {', '.join(kubernetes.missing())}"),
    pytest.mark.filterwarnings("ignore:Unverified HTTPS request"),
    pytest.mark.xdist_group("kubernetes"),
]
SPEC: dict[str, Any] = {
    "image": SERVICE["image"],
    "store": SERVICE["store"],
    "model": "wan-1.3b",
    "source": "s3://minio:9000/checkpoints/wan",
    "trustedKeys": {"configMap": "engine-keys"},
    "signingKeySecret": "signing",
}


@pytest.fixture
def cluster(server: kubernetes.ApiServer) -> Kube:
    return Kube(server, f"b-{secrets.token_hex(4)}")


def build(cluster: Kube, **changes: Any) -> None:
    spec = {name: value for name, value in (copy.deepcopy(SPEC) | changes).items() if value is not None}
    cluster.apply(cluster.object(API_VERSION, "EngineBuild", "wan", spec=spec))


def look(cluster: Kube) -> dict[str, Any]:
    assert reconcile_build(cluster, cluster.namespace, "wan", {})
    told = cluster.live(API_VERSION, "EngineBuild", "wan")["status"]["conditions"]
    return {condition["type"]: condition for condition in told}


def test_it_is_built_once_and_its_end_is_kept_without_the_job(cluster: Kube) -> None:
    build(cluster)
    assert look(cluster)["Progressing"]["status"] == "True"
    job = cluster.live("batch/v1", "Job", "wan-build")
    look(cluster)
    assert (
        cluster.live("batch/v1", "Job", "wan-build")["metadata"]["resourceVersion"]
        == job["metadata"]["resourceVersion"]
    )

    begun = "2026-11-27T00:00:00Z"
    done = {"type": "Complete", "status": "True", "lastTransitionTime": begun, "lastProbeTime": begun}
    cluster.tell(
        job,
        conditions=[{**done, "type": "SuccessCriteriaMet"}, done],
        startTime=begun,
        completionTime=begun,
        succeeded=1,
        uncountedTerminatedPods={},
    )
    assert look(cluster)["Ready"]["reason"] == "Built"

    cluster.delete(cluster.live("batch/v1", "Job", "wan-build"))
    assert look(cluster)["Ready"]["status"] == "True"
    assert cluster.get("batch/v1", "Job", cluster.namespace, "wan-build") is None


def test_a_job_of_its_name_that_is_anothers_is_left_alone(cluster: Kube) -> None:
    pod = {"restartPolicy": "Never", "containers": [{"name": "a", "image": "b"}]}
    cluster.apply(cluster.object("batch/v1", "Job", "wan-build", spec={"template": {"spec": pod}}))
    build(cluster)

    assert look(cluster)["Degraded"]["reason"] == "NameTaken"
    assert cluster.live("batch/v1", "Job", "wan-build")["spec"]["template"]["spec"]["containers"][0]["name"] == "a"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model": "wan+style"}, "a model with adapters is called after its base"),
        ({"adapters": [{"uri": "s3://h/b/a"}]}, "a model with adapters is called after its base"),
        ({"model": "wan+style", "adapters": [{"uri": "s3://h/b/a"}]}, "source is the base's"),
        ({"source": None, "targets": ["sm89"], "runtime": "tensorrt", "seconds": 3}, "go with source alone"),
        ({"source": None}, "nothing to do"),
        ({"targets": ["sm89"]}, "runtime and targets go together"),
        ({"runtime": "tensorrt_rtx"}, "runtime and targets go together"),
        ({"precision": "int8"}, "precision is fp32, bf16 or fp16 for all components"),
        ({"precision": "dit=bf16,"}, "or by component, like dit=bf16,vae=fp32"),
        ({"precision": "dit=bf16"}, "bf16 goes with targets"),
        ({"canvases": ["832x480"]}, "spec.canvases"),
        ({"source": "/data/wan"}, "spec.source"),
        ({"source": "/weights/wan"}, "a source in /weights goes with weights"),
        ({"weights": {}}, "weights are of a claim or of an image"),
        ({"weights": {"image": "wan:1"}}, "image must be pinned by digest"),
        ({"trustedKeys": None}, "spec.trustedKeys"),
        ({"model": "Wan"}, "spec.model"),
    ],
    ids=str,
)
def test_a_bad_one_is_refused_with_the_fix(cluster: Kube, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ApiException) as refused:
        build(cluster, **changes)
    assert said in str(refused.value.body)


def test_engines_in_half_are_built_by_its_job(cluster: Kube) -> None:
    build(cluster, runtime="tensorrt_rtx", targets=["sm89"], precision="dit=bf16,vae=fp32")
    look(cluster)
    (container,) = cluster.live("batch/v1", "Job", "wan-build")["spec"]["template"]["spec"]["containers"]
    add, made, _ = container["command"][-1].splitlines()[-3:]
    assert "--precision" not in add
    assert made.endswith("--target sm89 --precision dit=bf16,vae=fp32")


def test_one_with_adapters_waits_for_its_base(cluster: Kube) -> None:
    build(cluster)
    adapted = {**SPEC, "model": "wan-1.3b+style", "adapters": [{"uri": "s3://h/b/style.safetensors"}]}
    adapted.pop("source")
    cluster.apply(cluster.object(API_VERSION, "EngineBuild", "style", spec=adapted))

    again_s = reconcile_build(cluster, cluster.namespace, "style", {})
    assert again_s == BASE_LOOK_S, "no event of its own tells that the base is there"
    told = cluster.live(API_VERSION, "EngineBuild", "style")["status"]["conditions"]
    assert [(one["status"], one["reason"]) for one in told if one["type"] == "Progressing"] == [("True", "BaseInWork")]
    assert cluster.get("batch/v1", "Job", cluster.namespace, "style-build") is None

    cluster.delete(cluster.live(API_VERSION, "EngineBuild", "wan"))
    assert reconcile_build(cluster, cluster.namespace, "style", {}) == inf
    assert cluster.get("batch/v1", "Job", cluster.namespace, "style-build") is not None


def test_it_cannot_be_changed(cluster: Kube) -> None:
    build(cluster)
    with pytest.raises(ApiException) as refused:
        build(cluster, seconds=3)
    assert "make another EngineBuild" in str(refused.value.body)


def test_the_operators_process_makes_the_job_and_hears_of_its_end(
    server: kubernetes.ApiServer, cluster: Kube, tmp_path: Path
) -> None:
    with operator(server, cluster.namespace, tmp_path / "operator.log"):
        build(cluster)
        job = until(lambda: cluster.get("batch/v1", "Job", cluster.namespace, "wan-build"), 60)
        begun = "2026-11-27T00:00:00Z"
        failed = {"type": "Failed", "status": "True", "lastTransitionTime": begun, "reason": "PodFailurePolicy"}
        cluster.tell(
            job, conditions=[{**failed, "type": "FailureTarget"}, failed], startTime=begun, uncountedTerminatedPods={}
        )

        def refused() -> bool:
            told = cluster.live(API_VERSION, "EngineBuild", "wan").get("status", {}).get("conditions", ())
            return any(one["type"] == "Degraded" and one["reason"] == "InputRefused" for one in told)

        assert until(refused, 60)
