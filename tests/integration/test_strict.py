"""What the chart and the operator make, tried on a real API server: it knows every field, and lets every pod run where
the Pod Security Standard `restricted` is enforced."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest
from kubernetes import client
from kubernetes.client.exceptions import ApiException

from operators.api import engine_build, video_model
from operators.api.video_service import Spec
from operators.children.build_job import build_job
from operators.children.desired import desired
from operators.children.drain_job import drain_job
from operators.children.names import Owner
from operators.children.removal_job import removal_job
from operators.children.replay_job import replay_job
from tests import kubernetes
from tests.integration.kube import SPEC, Kube
from tests.integration.test_chart import FULL, rendered
from tests.integration.test_engine_build import SPEC as BUILD
from tests.integration.test_operator import GATEWAY
from tests.integration.video_models import PINNED
from tests.integration.video_models import SPEC as MODEL
from tests.servers import program

pytestmark = [
    pytest.mark.skipif(bool(kubernetes.missing()), reason=f"not on the PATH: {', '.join(kubernetes.missing())}"),
    pytest.mark.filterwarnings("ignore:Unverified HTTPS request"),
    pytest.mark.xdist_group("kubernetes"),
]
VALUES: dict[str, tuple[str, ...]] = {
    "nothing set": (),
    "everything on": FULL,
    "some namespaces": ("operator.namespaces={video}", "operator.replicas=2"),
    "a pinned image": (f"image.digest=sha256:{'a' * 64}", "image.pullSecrets={registry}"),
    "a service alone": (*FULL, "operator.enabled=false"),
    "every part of a service": (
        *FULL,
        "service.model=wan-1.3b",
        "service.trustedKeys.configMap=engine-keys",
        "service.light.replicas=2",
        "service.head.nodeSelector.pool=cpu",
        "service.scaling.idleSeconds=60",
        "service.rollout.progressDeadlineSeconds=600",
        "service.settings.admission.max_active_jobs=7",
        "service.frontDoor.gateway.parents[0].name=public",
        "service.frontDoor.gateway.grpcHostname=video.example",
        "service.frontDoor.gateway.httpHostname=media.example",
    ),
}
ELSEWHERE = "monitoring.coreos.com"
"""Whose kinds this server does not know."""
SERVICES: dict[str, dict[str, Any]] = {
    "the least": {},
    "a gateway and an autoscaler": {"frontDoor": {"keysSecret": "keys", "maxReplicas": 5, "gateway": GATEWAY}},
    "TLS and trusted keys": {
        "frontDoor": {"keysSecret": "keys", "tls": {"existingSecret": "tls"}},
        "trustedKeys": {"configMap": "engine-keys"},
        "denoisers": {
            "max": 2,
            "resources": {"limits": {"nvidia.com/gpu": 1, "memory": "24Gi"}, "claims": [{"template": "h100"}]},
            "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists"}],
        },
    },
}

BUILDS: tuple[dict[str, Any], ...] = (
    {},
    {"source": "/weights/wan", "weights": {"claim": "models"}},
    {"source": "/weights", "weights": {"image": PINNED}, "resources": {"claims": [{"template": "h100"}]}},
)


@pytest.fixture(scope="module")
def cluster(server: kubernetes.ApiServer) -> Kube:
    kube = Kube(server, "video")
    enforced = {"pod-security.kubernetes.io/enforce": "restricted"}
    client.CoreV1Api(server.client()).patch_namespace("video", {"metadata": {"labels": enforced}})
    return kube


def tried(cluster: Kube, wanted: dict[str, Any]) -> None:
    """As it would be applied; nothing is kept. Raises `ApiException` for a field that is none, too."""
    metadata = wanted["metadata"]
    where = {"name": metadata["name"], "namespace": metadata.get("namespace")}
    cluster._call(
        "try",
        wanted["apiVersion"],
        wanted["kind"],
        "server_side_apply",
        body=wanted,
        dry_run="All",
        field_manager="test",
        force_conflicts=True,
        serialize=False,
        **where,
    )


def run(cluster: Kube, template: dict[str, Any]) -> None:
    """A pod as a controller would make it of a template."""
    made = {"name": "tried", "namespace": "video", "labels": template.get("metadata", {}).get("labels", {})}
    tried(cluster, {"apiVersion": "v1", "kind": "Pod", "metadata": made, "spec": template["spec"]})


def templates(value: Any) -> Iterator[dict[str, Any]]:
    """Of pods, wherever they stand in an object."""
    if isinstance(value, dict):
        if "containers" in value.get("template", {}).get("spec", {}):
            yield value["template"]
        for part in value.values():
            yield from templates(part)
    elif isinstance(value, list):
        for part in value:
            yield from templates(part)


@pytest.mark.skipif(program("helm") is None, reason="helm is not on the PATH")
@pytest.mark.parametrize("values", VALUES.values(), ids=VALUES)
def test_the_api_server_takes_all_that_the_chart_renders(cluster: Kube, values: tuple[str, ...]) -> None:
    objects = [found for found in rendered(*values) if not found["apiVersion"].startswith(ELSEWHERE)]
    assert {found["kind"] for found in objects} & {"Deployment", "VideoService"}
    for found in objects:
        tried(cluster, found)
        for template in templates(found):
            run(cluster, template)


@pytest.mark.parametrize("changes", SERVICES.values(), ids=SERVICES)
def test_the_api_server_takes_all_that_the_operator_makes(cluster: Kube, changes: dict[str, Any]) -> None:
    owner = Owner("lt", "video", "00000000-0000-4000-8000-000000000000")
    children = desired(owner, Spec.model_validate(SPEC | changes), "lt-abcde")
    children += [build_job(owner, engine_build.Spec.model_validate(BUILD | parts)) for parts in BUILDS]
    children.append(removal_job(owner, video_model.Spec.model_validate(MODEL)))
    children.append(drain_job(owner, Spec.model_validate(SPEC | changes)))
    analysed = {"rollout": {"analysis": {"videos": 3}}}
    children.append(replay_job(owner, Spec.model_validate(SPEC | changes | analysed)))
    found = [template for child in children for template in templates(child)]
    assert len(found) == 1 + 3 + len(BUILDS) + 3, "front doors, three of Ray, builds', removal, drain, replay"
    for child in children:
        tried(cluster, child)
    for template in found:
        run(cluster, template)


def test_a_field_that_is_none_and_a_pod_that_may_too_much_are_refused(cluster: Kube) -> None:
    """So that what is taken above says something."""
    door = next(child for child in _least() if child["kind"] == "Deployment")
    with pytest.raises(ApiException) as unknown:
        tried(cluster, {**door, "spec": {**door["spec"], "replica": 2}})
    assert "replica" in str(unknown.value.body)

    template = copy.deepcopy(door["spec"]["template"])
    template["spec"]["containers"][0]["securityContext"]["allowPrivilegeEscalation"] = True
    with pytest.raises(ApiException) as unsafe:
        run(cluster, template)
    assert "violates PodSecurity" in str(unsafe.value.body)


def _least() -> list[dict[str, Any]]:
    return desired(Owner("lt", "video", "00000000-0000-4000-8000-000000000000"), Spec.model_validate(SPEC), "")
