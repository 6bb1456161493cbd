"""What the chart and the operator make of others' kinds (KubeRay's, the Gateway API's, the Prometheus operator's), held
against those projects' own CRDs by kubeconform: every field is one that there is. The tests' API server knows these
kinds by name alone.

`CRDS` names a folder with the CRDs, as those projects publish them.
"""

from __future__ import annotations

import copy
import json
import os
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import yaml

from operators.api.video_service import Spec
from operators.children.desired import desired
from operators.children.names import Owner
from tests.integration.kube import SPEC
from tests.integration.test_chart import FULL, rendered
from tests.integration.test_strict import SERVICES
from tests.servers import program

CRDS = Path(os.environ.get("CRDS", ""))
OTHERS = ("ray.io", "gateway.networking.k8s.io", "monitoring.coreos.com")
KINDS = ("RayService", "GRPCRoute", "HTTPRoute", "PodMonitor", "ServiceMonitor", "PrometheusRule")
pytestmark = [
    pytest.mark.skipif(program("kubeconform") is None, reason="kubeconform is not on the PATH"),
    pytest.mark.skipif(not os.environ.get("CRDS"), reason=f"CRDS names no folder with the CRDs of {', '.join(OTHERS)}"),
]


@pytest.fixture(scope="module")
def schemas(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file for each version of each kind, strict."""
    folder = tmp_path_factory.mktemp("schemas")
    texts = [file.read_text() for file in CRDS.glob("*.yaml")]
    texts = [text for text in texts if any(f"    kind: {kind}\n" in text for kind in KINDS)]  # to read one takes long
    for text in texts:
        for crd in yaml.load_all(text, yaml.CSafeLoader):
            for version in crd["spec"]["versions"]:
                names = crd["spec"]["group"], crd["spec"]["names"]["kind"].lower(), version["name"]
                (folder / f"{'_'.join(names)}.json").write_text(
                    json.dumps(strict(version["schema"]["openAPIV3Schema"]))
                )
    return folder


def strict(schema: Any) -> Any:
    """The same, of which an object has no field that is not named."""
    if isinstance(schema, list):
        return [strict(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    made = {name: strict(part) for name, part in schema.items()}
    if isinstance(schema.get("properties"), dict) and not schema.get("x-kubernetes-preserve-unknown-fields"):
        made.setdefault("additionalProperties", False)
    return made


def refused(schemas: Path, folder: Path, objects: Iterable[dict[str, Any]]) -> list[str]:
    """What kubeconform says of those that are others' kinds, by each; at least one must be."""
    others = [found for found in objects if found["apiVersion"].partition("/")[0] in OTHERS]
    assert others
    for at, found in enumerate(others):
        (folder / f"{at}.json").write_text(json.dumps(found))
    place = f"{schemas}/{{{{.Group}}}}_{{{{.ResourceKind}}}}_{{{{.ResourceAPIVersion}}}}.json"
    command = ["kubeconform", "-strict", "-output", "json", "-verbose", "-schema-location", place, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    told = json.loads(done.stdout)["resources"]
    assert len(told) == len(others), done.stderr
    return [f"{one['kind']} {one['name']}: {one['msg']}" for one in told if one["status"] != "statusValid"]


def children(changes: dict[str, Any]) -> list[dict[str, Any]]:
    owner = Owner("lt", "video", "00000000-0000-4000-8000-000000000000")
    return desired(owner, Spec.model_validate(SPEC | changes), "lt-abcde")


@pytest.mark.skipif(program("helm") is None, reason="helm is not on the PATH")
def test_the_monitors_and_rules_of_the_chart_have_the_fields_that_there_are(schemas: Path, tmp_path: Path) -> None:
    assert refused(schemas, tmp_path, rendered(*FULL)) == []


@pytest.mark.parametrize("changes", SERVICES.values(), ids=SERVICES)
def test_all_that_the_operator_makes_of_others_kinds_has(
    schemas: Path, tmp_path: Path, changes: dict[str, Any]
) -> None:
    assert refused(schemas, tmp_path, children(changes)) == []


def test_a_field_that_is_none_is_told(schemas: Path, tmp_path: Path) -> None:
    """So that silence above says something."""
    ray = copy.deepcopy(next(child for child in children({}) if child["kind"] == "RayService"))
    ray["spec"]["rayClusterConfig"]["headGroupSpec"]["template"]["spec"]["containers"][0]["imagePolicy"] = "Never"
    (told,) = refused(schemas, tmp_path, [ray])
    assert "imagePolicy" in told
