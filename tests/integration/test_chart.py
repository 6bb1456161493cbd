"""The chart, by helm itself: what it makes, what it asks for, and that its VideoService is one that the CRD takes."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from operators.api.video_service import VideoService
from operators.children.build_job import build_job
from operators.children.desired import desired
from operators.children.names import Owner
from tests.servers import program
from tests.unit.operators.services import build_spec

pytestmark = pytest.mark.skipif(program("helm") is None, reason="helm is not on the PATH")

CHART = Path(__file__).parents[2] / "helm" / "longtake"
FULL = (
    "service.enabled=true",
    "service.store.url=s3://minio:9000/longtake/main",
    "service.store.credentials.existingSecret=s3",
    "service.frontDoor.keysSecret=keys",
    "service.denoisers.max=3",
    "monitoring.enabled=true",
    "test.existingSecret=key",
)


def template(
    *values: str, kuberay: bool = True, name: str = "lt", namespace: str = "video"
) -> subprocess.CompletedProcess[str]:
    command = ["helm", "template", name, str(CHART), "--namespace", namespace, "--kube-version", "1.34.0"]
    command += ["--api-versions", "ray.io/v1/RayService"] if kuberay else []
    command += [part for value in values for part in ("--set-json" if '["' in value else "--set", value)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def rendered(*values: str, **where: str) -> list[dict[str, Any]]:
    made = template(*values, **where)  # type: ignore[arg-type]
    assert made.returncode == 0, made.stderr
    return [found for found in yaml.safe_load_all(made.stdout) if found]


def test_its_service_is_one_that_the_operator_makes() -> None:
    (service,) = [found for found in rendered(*FULL) if found["kind"] == "VideoService"]

    spec = VideoService.model_validate(service).spec

    assert spec.image.name == "longtake:0.1.0"
    assert spec.denoisers.max == 3
    assert desired(Owner("lt", "video", "uid"), spec, "")


@pytest.mark.parametrize(("name", "namespace"), [("123", "2026"), ("1e3", "0x10"), ("null", "true")])
def test_names_that_look_like_numbers_are_words(name: str, namespace: str) -> None:
    lists = ('image.pullSecrets=["123"]', 'operator.namespaces=["2026", "true", "0x10"]')
    found = rendered(*FULL, *lists, name=name, namespace=namespace)
    assert len(found) > 10
    for one in found:
        assert one["metadata"].get("namespace", namespace) in {namespace, "2026", "true", "0x10"}
        assert all(isinstance(word, str) for word in _words(one)), one


def _words(of: object, key: str = "") -> list[object]:
    """What stands where Kubernetes wants words: names, namespaces, labels."""
    if isinstance(of, dict):
        labels = key in ("labels", "matchLabels", "nodeSelector")
        return [word for name, value in of.items() for word in ([value] if labels else _words(value, name))]
    if isinstance(of, list):
        return [word for value in of for word in _words(value, key)]
    return [of] if key in ("name", "namespace", "command", "resourceNames", "args") else []


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("service.store=null", "'store'"),
        ("service.store.credentials=null", "'credentials'"),
        ("service.drain=null", "'drain'"),
        ("image.pullPolicy=null", "'pullPolicy'"),
        ("monitoring.labels.release=123", "/monitoring/labels/release"),
    ],
)
def test_a_value_that_is_missing_or_no_word_is_named(value: str, said: str) -> None:
    made = template(*FULL, value)
    assert made.returncode != 0
    assert said in made.stderr


def test_the_alerts_are_those_of_the_file() -> None:
    (rule,) = [found for found in rendered(*FULL) if found["kind"] == "PrometheusRule"]
    assert rule["spec"] == yaml.safe_load((CHART / "files" / "alerts.yaml").read_text())


def test_each_dashboard_is_found_by_grafana_as_it_was_written() -> None:
    maps = [found for found in rendered(*FULL) if found["kind"] == "ConfigMap"]
    files = {f"longtake-{path.name}": path.read_text() for path in (CHART / "files" / "dashboards").glob("*.json")}
    assert {name: text + "\n" for found in maps for name, text in found["data"].items()} == files
    assert {found["metadata"]["labels"]["grafana_dashboard"] for found in maps} == {"1"}


def test_a_digest_goes_before_the_tag() -> None:
    digest = f"sha256:{'a' * 64}"
    (operator,) = [
        found
        for found in rendered(f"image.digest={digest}")
        if found["metadata"]["name"] == "lt-operator" and found["kind"] == "Deployment"
    ]
    (container,) = operator["spec"]["template"]["spec"]["containers"]
    assert container["image"] == f"longtake@{digest}"


@pytest.mark.parametrize(
    ("values", "image"),
    [
        ((), "longtake-ray:0.1.0"),
        (("image.repository=registry.example/video", "image.tag=v7"), "registry.example/video-ray:v7"),
        (("rayImage.repository=cuda", "rayImage.tag=v8"), "cuda:v8"),
        ((f"image.digest=sha256:{'a' * 64}", f"rayImage.digest=sha256:{'b' * 64}"), f"longtake-ray@sha256:{'b' * 64}"),
    ],
)
def test_rays_pods_have_the_other_image(values: tuple[str, ...], image: str) -> None:
    (service,) = [found for found in rendered(*FULL, *values) if found["kind"] == "VideoService"]
    assert VideoService.model_validate(service).spec.ray_image == image


def test_the_operator_may_do_what_it_does_and_touch_no_secret() -> None:
    (role,) = [found for found in rendered() if found["kind"] == "ClusterRole"]
    granted = {
        (group, resource) for rule in role["rules"] for group in rule["apiGroups"] for resource in rule["resources"]
    }
    assert ("", "secrets") not in granted
    children = desired(Owner("lt", "video", "uid"), VideoService.model_validate(_service()).spec, "c")
    children.append(build_job(Owner("wan", "video", "uid"), build_spec()))
    assert ("apps", "controllerrevisions") in granted, "what served last is kept in one"
    for child in children:
        group = child["apiVersion"].rpartition("/")[0]
        plural = child["kind"].lower().removesuffix("y") + ("ies" if child["kind"].endswith("y") else "s")
        assert (group, plural) in granted, f"{child['kind']} is made, and the ClusterRole does not have it"


def test_a_service_that_drains_goes_before_its_operator() -> None:
    assert not [found for found in rendered(*FULL) if found["kind"] == "Job"]
    objects = rendered(*FULL, "service.drain.timeoutSeconds=60")
    (job,) = [found for found in objects if found["kind"] == "Job"]
    assert job["metadata"]["annotations"]["helm.sh/hook"] == "pre-delete"
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert container["command"] == ["python3", "-m", "operators.farewell", "video", "lt"]
    (service,) = [found for found in objects if found["kind"] == "VideoService"]
    assert VideoService.model_validate(service).spec.drain.timeout_seconds == 60
    named = job["spec"]["template"]["spec"]["serviceAccountName"]
    assert named in [found["metadata"]["name"] for found in objects if found["kind"] == "ServiceAccount"]
    assert not [
        one
        for one in rendered(*FULL, "service.drain.timeoutSeconds=60", "operator.enabled=false")
        if one["kind"] == "Job"
    ], "another release's operator stays"


def test_the_lease_that_the_operator_asks_for_goes_with_the_release() -> None:
    objects = rendered("operator.namespaces={a}")
    (lease,) = [found["metadata"] for found in objects if found["kind"] == "Lease"]
    (operator,) = [found for found in objects if found["kind"] == "Deployment"]
    (container,) = operator["spec"]["template"]["spec"]["containers"]
    assert f"--lease={lease['name']}" in container["args"]
    assert f"--lease-namespace={lease['namespace']}" in container["args"]


def test_in_some_namespaces_alone_it_has_rights_there_alone() -> None:
    objects = rendered("operator.namespaces={a,b}")
    assert "ClusterRoleBinding" not in {found["kind"] for found in objects}
    bound = [found["metadata"]["namespace"] for found in objects if found["kind"] == "RoleBinding"]
    assert sorted(bound) == ["a", "b", "video"]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (("service.enabled=true",), "service.store.url must be given"),
        (
            (*FULL, "service.store.credentials.existingSecret="),
            "service.store.credentials.existingSecret must be given",
        ),
        ((*FULL, "service.frontDoor.keysSecret="), "service.frontDoor.keysSecret must be given"),
        ((*FULL, "operator.namespaces={a}"), "operator.namespaces must have video, too"),
        (("service.store.url=/data",), "does not match pattern"),
        (("servise.enabled=true",), "'servise' not allowed"),
        (("image.digest=latest",), "does not match pattern"),
        (("rayImage.digest=latest",), "does not match pattern"),
    ],
)
def test_what_is_missing_or_wrong_is_named(values: tuple[str, ...], said: str) -> None:
    refused = template(*values)
    assert refused.returncode != 0
    assert said in refused.stderr


def test_without_kuberay_it_says_what_to_install() -> None:
    refused = template(kuberay=False)
    assert refused.returncode != 0
    assert "This cluster has no KubeRay" in refused.stderr


def test_helm_finds_nothing_to_say() -> None:
    linted = subprocess.run(["helm", "lint", "--strict", str(CHART)], capture_output=True, text=True, check=False)
    assert linted.returncode == 0, linted.stdout


def _service() -> dict[str, Any]:
    (service,) = [
        found for found in rendered(*FULL, "service.frontDoor.maxReplicas=5") if found["kind"] == "VideoService"
    ]
    return service
