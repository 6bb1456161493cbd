"""EngineBuilds: what their Job runs and where, and what is told of it."""

from __future__ import annotations

import re
import shlex
from datetime import UTC, datetime
from typing import Any

import pytest
from typer.testing import CliRunner

from engines.models import all_models
from engines.precision import read
from operators.api import engine_build, video_service
from operators.api.engine_build import Status
from operators.children.build_job import build_job, commands
from operators.children.names import Owner
from operators.policies.build_state import build_conditions, finished
from operators.policies.state import Finding
from serving.cli import engines, models
from tests.unit.operators.services import build_spec as spec

ADD = "longtake models add wan-1.3b --from s3://minio:9000/checkpoints/wan"
OWNER, NOW = Owner("wan", "video", "uid-1"), datetime(2026, 11, 27, tzinfo=UTC)


@pytest.mark.parametrize(
    ("parts", "runs"),
    [
        ({}, [ADD]),
        (
            {"canvases": ["16:9=832x480", "1:1=624x624"], "seconds": 3, "targets": ["sm89"], "runtime": "tensorrt_rtx"},
            [
                f"{ADD} --canvas 16:9=832x480 --canvas 1:1=624x624 --seconds 3",
                "longtake engines build --model wan-1.3b --runtime tensorrt_rtx --target sm89",
            ],
        ),
        (
            {
                "model": "wan-1.3b+style",
                "source": None,
                "adapters": [{"uri": "s3://h/b/a b", "scale": 0.5}],
            },
            ["longtake models add wan-1.3b+style --lora 's3://h/b/a b=0.5'"],
        ),
        (
            {"source": None, "targets": ["sm90"], "runtime": "tensorrt"},
            ["longtake engines build --model wan-1.3b --runtime tensorrt --target sm90"],
        ),
        (
            {"targets": ["sm90"], "runtime": "tensorrt", "precision": "dit=bf16"},
            [ADD, "longtake engines build --model wan-1.3b --runtime tensorrt --target sm90 --precision dit=bf16"],
        ),
        ({"precision": "fp16"}, [f"{ADD} --precision fp16"]),
    ],
)
def test_it_runs_the_commands_that_a_person_would(parts: dict[str, Any], runs: list[str]) -> None:
    assert [shlex.join(command) for command in commands(spec(**parts))] == runs
    for command in commands(spec(**parts)):
        group = {"models": models.app, "engines": engines.app}[command[1]]
        told = CliRunner().invoke(group, [command[2], "--help"], env={"COLUMNS": "200"}).stdout
        for word in command:
            assert not word.startswith("--") or word in told
    (container,) = build_job(OWNER, spec(**parts))["spec"]["template"]["spec"]["containers"]
    script = container["command"][-1].splitlines()
    assert script[-len(runs) - 1 : -1] == runs
    assert script[-1] == f"longtake models show {spec(**parts).model} --output json > /dev/termination-log"


def test_its_pod_is_restricted_and_signs_with_a_key_that_nobody_else_reads() -> None:
    job = build_job(OWNER, spec(nodeSelector={"gpu": "no"}))
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]

    assert pod["securityContext"]["runAsNonRoot"]
    assert container["securityContext"]["readOnlyRootFilesystem"]
    assert pod["nodeSelector"] == {"gpu": "no"}
    assert not pod["automountServiceAccountToken"]
    assert "umask 077" in container["command"][-1]
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    variables = {variable["name"]: variable.get("value") for variable in container["env"]}
    assert f"cp {mounts['signing']}/key.pem {variables['LONGTAKE_ENGINES__SIGNING_KEY']}" in container["command"][-1]
    assert variables["LONGTAKE_ENGINES__TRUSTED_KEYS"] == f"{mounts['engine-keys']}/trusted"
    assert {volume["name"] for volume in pod["volumes"]} == set(mounts)
    assert job["metadata"]["ownerReferences"][0]["uid"] == "uid-1"


def pod(**state: Any) -> dict[str, Any]:
    told = {"containerStatuses": [{"name": "engine-build", "state": state}]}
    return {"metadata": {"name": "wan-build-1", "creationTimestamp": "2026-11-26T00:00:00Z"}, "status": told}


def job(kind: str = "", reason: str = "") -> dict[str, Any]:
    ended = [{"type": kind, "status": "True", "reason": reason, "message": "it has ended"}] if kind else []
    return {"status": {"conditions": [*ended, {"type": "Suspended", "status": "False"}]}}


OUT_OF_SPACE = pod(terminated={"message": "50 %  exporting dit\nerror: no room", "finishedAt": "2026-11-27T00:00:00Z"})
OUT_OF_MEMORY = pod(terminated={"reason": "OOMKilled", "exitCode": 137, "message": "12 %  exporting text_encoder"})
CRASHED = pod(terminated={"reason": "Error", "exitCode": 139, "message": "12 %  exporting text_encoder"})
TYPO = pod(terminated={"message": "error: no such bucket", "finishedAt": "2026-11-27T00:00:01Z"})


@pytest.mark.parametrize(
    ("job", "pods", "trouble", "ready", "progressing", "degraded", "says"),
    [
        (None, [], None, "False", "True", "False", "its pod starts"),
        (job(), [{**pod(), "status": {"phase": "Running"}}], None, "False", "True", "False", "pod wan-build-1 builds"),
        (
            job(),
            [pod(waiting={"reason": "ErrImagePull"})],
            None,
            "False",
            "True",
            "True",
            "ErrImagePull",
        ),
        (None, [], Finding("BaseInWork", "wan builds it"), "False", "True", "False", "wan builds it"),
        (job("Failed", "BackoffLimitExceeded"), [OUT_OF_MEMORY], None, "False", "False", "True", "limits.memory; it"),
        (job("Failed", "BackoffLimitExceeded"), [CRASHED], None, "False", "False", "True", "killed by signal 11"),
        (job("Complete"), [], None, "True", "False", "False", "in the store"),
        (job("Failed", "BackoffLimitExceeded"), [OUT_OF_SPACE], None, "False", "False", "True", "error: no room"),
        (job("Failed", "PodFailurePolicy"), [TYPO, OUT_OF_SPACE], None, "False", "False", "True", "no such bucket"),
        (job("Failed", "DeadlineExceeded"), [], None, "False", "False", "True", "it has ended"),
        (None, [], Finding("NameTaken", "a Job is there", failing=True), "False", "False", "True", "a Job is there"),
    ],
)
def test_how_it_goes_is_told(
    job: dict[str, Any] | None,
    pods: list[dict[str, Any]],
    trouble: Finding | None,
    ready: str,
    progressing: str,
    degraded: str,
    says: str,
) -> None:
    told = build_conditions(job, pods, Status(), generation=1, now=NOW, trouble=trouble)
    by_type = {condition.type: condition for condition in told}

    assert [by_type[name].status for name in ("Ready", "Progressing", "Degraded")] == [ready, progressing, degraded]
    assert says in by_type["Ready"].message


@pytest.mark.parametrize("ended", [job("Complete"), job("Failed", "PodFailurePolicy")], ids=["built", "refused"])
def test_what_has_come_to_its_end_stays_so_when_its_job_is_gone(ended: dict[str, Any]) -> None:
    first = Status(conditions=build_conditions(ended, [], Status(), generation=1, now=NOW, trouble=None))

    assert finished(first)
    assert build_conditions(None, [], first, generation=1, now=NOW, trouble=None) == first.conditions
    taken = Finding("NameTaken", "", failing=True)
    assert not finished(Status(conditions=build_conditions(None, [], Status(), generation=1, now=NOW, trouble=taken)))


def test_what_is_compiled_for_a_gpu_is_told_to_be_unverified() -> None:
    (ready, *_) = build_conditions(job("Complete"), [], Status(), targets=["sm89"], generation=1, now=NOW, trouble=None)

    assert (ready.type, ready.reason) == ("Ready", "CompiledNotVerified")
    assert "engines verify" in ready.message


def test_the_model_of_the_image_is_called_as_the_package_calls_it() -> None:
    (shipped,) = all_models()
    assert (shipped.name, *shipped.family.capabilities.aliases) == video_service.SHIPPED


def test_a_precision_that_the_resource_takes_is_one_that_the_command_reads() -> None:
    for text in ("bf16", "dit=bf16", "dit=bf16,vae=fp32,text_encoder=fp16"):
        assert re.fullmatch(engine_build.PRECISION, text)
        read(text, ("dit", "vae_decoder_step", "text_encoder"))
    for text in ("", "int8", "dit=", "=bf16", "dit=bf16,", "dit=bf16 vae=fp32", "bf16,vae=fp32", "dit=int8"):
        assert not re.fullmatch(engine_build.PRECISION, text)
