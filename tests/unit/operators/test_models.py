"""VideoModels: which EngineBuilds they are made of, in which order, and what is told of them."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from typer.testing import CliRunner

from operators.api.checkpoint import Report
from operators.api.video_model import Status
from operators.children.build_job import commands
from operators.children.model_builds import engine_build_of, stages
from operators.children.names import QUEUE, Owner
from operators.children.removal_job import removal_job
from operators.policies.build_report import reported
from operators.policies.model_plan import Plan, planned
from operators.policies.model_state import model_status
from serving.cli import models
from tests.unit.operators.services import model_spec as spec

OWNER, NOW = Owner("wan", "video", "uid-1", "builders"), datetime(2026, 11, 27, tzinfo=UTC)
ADA = {"name": "ada", "runtime": "tensorrt_rtx", "targets": ["sm89"], "nodeSelector": {"gpu": "ada"}}
HOPPER = {"name": "hopper", "runtime": "tensorrt", "targets": ["sm90"]}
READY, FAILED = {"type": "Ready", "reason": "Built"}, {"type": "Degraded", "reason": "BuildFailed"}
REPORT = Report.model_validate(
    {"family": "wan", "weights_digest": "d", "capabilities": {"seconds": {"min": 1, "max": 9}}}
).model_dump(by_alias=True)


def live(name: str, wanted: dict[str, Any], *conditions: dict[str, str], owner: Owner = OWNER) -> dict[str, Any]:
    """An EngineBuild as the API server has it."""
    made = engine_build_of(owner, name, next(stage[name] for stage in stages(owner, spec(**wanted)) if name in stage))
    told = [{"status": "True", "message": "so", "lastTransitionTime": "x", **one} for one in conditions]
    return {**made, "status": {"conditions": told, "report": REPORT}}


def plan(wanted: dict[str, Any], *there: dict[str, Any]) -> Plan:
    found = {one["metadata"]["name"]: one for one in there}
    return planned(stages(OWNER, spec(**wanted)), found, OWNER.uid)


def told(wanted: dict[str, Any], *there: dict[str, Any], family: str | None = None) -> tuple[Status, dict[str, str]]:
    status = model_status(
        plan(wanted, *there), Status(), model="wan", family=family, generation=1, now=NOW, trouble=None
    )
    return status, {one.type: one.reason if one.status == "True" else "" for one in status.conditions}


def test_the_base_is_added_then_adapted_and_devices_come_last() -> None:
    found = stages(
        OWNER,
        spec(
            model="wan+style",
            adapters=[{"uri": "s3://h/b/a.safetensors"}],
            builds=[ADA, HOPPER],
            precision="bf16",
            source={"uri": "pvc://models/wan"},
            seconds=3,
        ),
    )
    assert [list(stage) for stage in found] == [["wan-add"], ["wan-adapt"], ["wan-ada", "wan-hopper"]]
    runs = {name: " ".join(*commands(build)) for stage in found for name, build in stage.items()}
    assert runs["wan-add"] == "longtake models add wan --from /weights/wan --seconds 3"
    assert runs["wan-adapt"] == "longtake models add wan+style --lora s3://h/b/a.safetensors=1"
    assert runs["wan-ada"].endswith("--model wan+style --runtime tensorrt_rtx --target sm89 --precision bf16")
    builds = {name: build for stage in found for name, build in stage.items()}
    assert all(build.weights is not None for build in builds.values()), "an adapter is merged into the base's weights"
    assert builds["wan-ada"].node_selector == {"gpu": "ada"}
    assert engine_build_of(OWNER, "wan-ada", builds["wan-ada"])["metadata"]["labels"][QUEUE] == "builders"


def test_without_devices_a_precision_is_of_what_runs_on_the_cpu() -> None:
    ((_, add),) = stages(OWNER, spec(precision="fp16"))[0].items()
    assert add.precision == "fp16"


@pytest.mark.parametrize(
    ("wanted", "there", "make", "remove"),
    [
        ({"builds": [ADA]}, [], ["wan-add"], []),
        ({"builds": [ADA]}, [live("wan-add", {})], [], []),
        ({"builds": [ADA]}, [live("wan-add", {}, READY)], ["wan-ada"], []),
        ({"builds": [ADA]}, [live("wan-add", {}, FAILED)], [], []),
        ({}, [live("wan-add", {"image": {"name": "other"}}, READY)], [], []),
        ({}, [live("wan-add", {"image": {"name": "other"}}, FAILED)], [], ["wan-add"]),
        ({}, [live("wan-add", {"image": {"name": "other"}})], [], ["wan-add"]),
        ({"precision": "fp16"}, [live("wan-add", {}, READY)], [], ["wan-add"]),
        ({}, [live("wan-add", {}, READY), live("wan-ada", {"builds": [ADA]}, READY)], [], ["wan-ada"]),
        ({}, [live("wan-add", {}, READY, owner=Owner("wan", "video", "uid-2"))], [], []),
    ],
)
def test_what_is_missing_is_made_and_what_is_stale_goes(
    wanted: dict[str, Any], there: list[dict[str, Any]], make: list[str], remove: list[str]
) -> None:
    found = plan(wanted, *there)
    assert (list(found.make), [one["metadata"]["name"] for one in found.remove]) == (make, remove)


def test_one_that_is_about_to_go_is_waited_for() -> None:
    going = live("wan-add", {"image": {"name": "other"}}, FAILED)
    going["metadata"]["deletionTimestamp"] = "2026-11-27T00:00:00Z"
    found = plan({}, going)
    assert (found.make, found.remove, found.seen[0].state) == ({}, [], "Waits")


def test_it_may_be_served_on_cpus_while_engines_for_gpus_are_missing() -> None:
    wanted = {"builds": [ADA, HOPPER]}
    status, true = told(wanted, live("wan-add", wanted, READY), live("wan-ada", wanted, FAILED))
    assert (true["Ready"], true["EnginesReady"]) == ("Built", "")
    assert (true["Degraded"], status.engines) == ("EngineBuildFailed", "1/3")
    assert [one.state for one in status.builds] == ["Ready", "Failed", "Waits"]
    assert (status.family, status.report and status.report.weights_digest) == ("wan", "d")

    _, true = told({}, live("wan-add", {}, READY), family="sprite")
    assert (true["Ready"], true["Degraded"]) == ("", "FamilyDiffers")


def test_what_the_command_shows_is_what_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    shown = CliRunner().invoke(models.app, ["show", "sprite", "-o", "json"]).stdout
    assert len(shown) < 4096, "a kubelet keeps no more of it"

    def pod(code: int, message: str) -> dict[str, Any]:
        state = {"terminated": {"exitCode": code, "message": message}}
        return {"status": {"containerStatuses": [{"name": "engine-build", "state": state}]}}

    found = reported([pod(1, "error: no"), pod(0, shown)])
    assert found is not None
    assert (found.family, found.capabilities.canvases[0]) == ("sprite", "16:9=144x80")
    assert [(one.name, one.verified) for one in found.variants] == [("onnxruntime-cpu", True)]
    assert found.weights_digest == json.loads(shown)["weights_digest"]
    assert [reported([pod(0, text)]) for text in ("", "{}", "[]", shown[:900])] == [None] * 4


def test_the_job_that_removes_it_runs_what_a_person_would() -> None:
    job = removal_job(OWNER, spec(model="wan-1"))
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["command"] == ["longtake", "models", "rm", "wan-1", "--force"]
    assert "--force" in CliRunner().invoke(models.app, ["rm", "--help"], env={"COLUMNS": "200"}).stdout
    assert {one["name"] for one in container["volumeMounts"]} == {one["name"] for one in pod["volumes"]}
