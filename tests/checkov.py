"""`python -m tests.checkov PROGRAM`: all that the chart renders and the operator makes, put to checkov. `make checkov`
runs it.

Checkov looks into no RayService, so each pod in one stands for itself. `helm/checkov.yaml` has what it may find, and
why.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import yaml

from operators.api import engine_build, video_model
from operators.api.video_service import Spec
from operators.children.build_job import build_job
from operators.children.desired import desired
from operators.children.drain_job import drain_job
from operators.children.names import Owner
from operators.children.removal_job import removal_job
from operators.children.replay_job import replay_job
from tests.integration.kube import SPEC
from tests.integration.test_chart import FULL, rendered
from tests.integration.test_engine_build import SPEC as BUILD
from tests.integration.test_strict import SERVICES
from tests.integration.video_models import SPEC as MODEL

WAIVED = Path(__file__).parents[1] / "helm" / "checkov.yaml"
DIGEST = f"sha256:{'0' * 64}"
"""As one pins an image."""
Object = dict[str, Any]


def objects() -> Iterator[Object]:
    """The chart's, with everything on, those of each kind of service, and each kind of Job that the operator makes."""
    drain = "service.drain.timeoutSeconds=600"
    yield from rendered(*FULL, drain, f"image.digest={DIGEST}", f"rayImage.digest={DIGEST}")
    owner = Owner("lt", "video", "00000000-0000-4000-8000-000000000000")
    image = {"image": {"name": f"longtake@{DIGEST}"}}
    service = Spec.model_validate(SPEC | image)
    yield build_job(owner, engine_build.Spec.model_validate(BUILD | image))
    yield drain_job(owner, service)
    yield replay_job(owner, service)
    yield removal_job(owner, video_model.Spec.model_validate(MODEL | image))
    fixed = {"denoisers": {"min": 1, "max": 1}}
    for changes in ({}, fixed, *SERVICES.values()):
        for child in desired(owner, Spec.model_validate(SPEC | image | changes), "lt-abcde"):
            yield child
            if child["kind"] == "RayService":
                yield from _pods(child)


def _pods(ray: Object) -> Iterator[Object]:
    cluster = ray["spec"]["rayClusterConfig"]
    head = "ray-head-autoscaled" if cluster.get("enableInTreeAutoscaling") else "ray-head"
    templates = {head: cluster["headGroupSpec"]["template"]}
    templates |= {f"ray-{group['groupName']}": group["template"] for group in cluster["workerGroupSpecs"]}
    for name, template in templates.items():
        metadata = {**template["metadata"], "name": name, "namespace": "video"}
        yield {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}


def found(program: str) -> tuple[set[tuple[str, str]], int]:
    """Checks that failed, each with Kind/name, and how many passed. Raises `CalledProcessError`."""
    with tempfile.TemporaryDirectory() as folder:
        for at, one in enumerate(objects()):
            (Path(folder) / f"{at:02}.json").write_text(json.dumps(one, indent=1))
        command = [program, "--directory", folder, "--framework=kubernetes", "--skip-download", "--output=json"]
        told = json.loads(subprocess.run([*command, "--soft-fail"], capture_output=True, check=True).stdout)
    failed = told["results"]["failed_checks"]
    return {(one["check_id"], _name(one["resource"])) for one in failed}, told["summary"]["passed"]


def _name(resource: str) -> str:
    """Kind/name: checkov says Kind.namespace.name, and of a controller's pods all labels behind it."""
    kind, _, name = resource.split(".")[:3]
    return f"{kind}/{name}"


def main() -> int:
    """Exit code 1 where something is found that is not waived, or waived that is not found."""
    failed, passed = found(sys.argv[1])
    waivers = [(one["check"], place) for one in yaml.safe_load(WAIVED.read_text()) for place in one["at"]]

    def meets(one: tuple[str, str], waiver: tuple[str, str]) -> bool:
        return one[0] == waiver[0] and fnmatch(one[1], waiver[1])

    new = sorted(one for one in failed if not any(meets(one, waiver) for waiver in waivers))
    stale = [waiver for waiver in waivers if not any(meets(one, waiver) for one in failed)]
    for check, place in new:
        print(f"{check} fails at {place}: mend it, or say in {WAIVED.name} why it stays")
    for check, place in stale:
        print(f"{check} does not fail at {place}: take it out of {WAIVED.name}")
    print(f"checkov: {passed} checks pass, {len(failed)} fail, {len(new)} of them for no known reason")
    return bool(new or stale)


if __name__ == "__main__":
    sys.exit(main())
