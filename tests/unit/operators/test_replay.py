"""The Job that replays finished videos, and what is read from how it ended."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from operators.children.replay_job import replay_job
from operators.policies.replay import TRIES, replayed
from serving.cli.main import build
from tests.unit.operators.services import OWNER, spec

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ASKED: dict[str, Any] = {"rollout": {"progressDeadlineSeconds": 900, "analysis": {"videos": 3}}}
GPU: dict[str, Any] = {"resources": {"limits": {"nvidia.com/gpu": 1}}, "nodeSelector": {"gpu": "h100"}}


def job(kind: str = "", reason: str = "") -> dict[str, Any]:
    told = [{"type": kind, "status": "True", "reason": reason, "message": "it has ended"}] if kind else []
    return {"status": {"conditions": told}}


def pod(last: str, code: int = 0, **labels: str) -> dict[str, Any]:
    ended = {"exitCode": code, "message": last, "finishedAt": "2026-01-01T00:00:00Z"}
    state = {"name": "replay", "state": {"terminated": ended}}
    own = {"app.kubernetes.io/component": "replay", **labels}
    metadata = {"name": "lt-replay-1", "labels": own, "creationTimestamp": "2026-01-01T00:00:00Z"}
    return {"metadata": metadata, "status": {"containerStatuses": [state]}}


def test_its_pod_is_the_new_versions_denoisers_and_restricted() -> None:
    made = replay_job(OWNER, spec(**ASKED, denoisers=GPU, image={"name": "longtake:2"}))
    inside = made["spec"]["template"]["spec"]
    (container,) = inside["containers"]
    assert container["image"] == "longtake:2"
    assert container["resources"]["limits"] == {"nvidia.com/gpu": 1}
    assert inside["nodeSelector"] == {"gpu": "h100"}
    assert inside["securityContext"]["runAsNonRoot"]
    assert container["securityContext"]["readOnlyRootFilesystem"]
    assert not inside["automountServiceAccountToken"]
    assert made["spec"]["activeDeadlineSeconds"] == 900
    assert made["metadata"]["ownerReferences"][0]["uid"] == OWNER.uid
    help_ = CliRunner().invoke(build(), ["reproduce", "--help"], env={"COLUMNS": "200"}).stdout
    assert "--newest" in help_


def test_another_pod_is_another_job_and_another_deadline_is_not() -> None:
    def name(**parts: Any) -> str:
        return str(replay_job(OWNER, spec(**{**ASKED, **parts}))["metadata"]["name"])

    assert name(image={"name": "longtake:2"}) != name() != name(rollout={"analysis": {"videos": 4}})
    assert name(rollout={"progressDeadlineSeconds": 3600, "analysis": {"videos": 3}}) == name()
    assert len(replay_job(OWNER.__class__("l" * 40, "video", "u"), spec(**ASKED))["metadata"]["name"]) <= 63


OTHERWISE = "error: 1 of 3 videos came out otherwise; vid_a: segment 0: latents differs first"


@pytest.mark.parametrize(
    ("code", "last", "ends"),
    [
        (0, "3 replayed, all 15 digests are equal", 0),
        (1, OTHERWISE, 1),
        (1, "ModuleNotFoundError: No module named 'typer'", 5),  # as any Python ends that cannot begin
        (4, "error: the store does not answer", 4),
        (5, "error: could not be judged: ZeroDivisionError: oh", 5),
        (137, "error: last words", 137),
    ],
)
def test_its_exit_code_and_last_words_are_the_commands(tmp_path: Path, code: int, last: str, ends: int) -> None:
    (container,) = replay_job(OWNER, spec(**ASKED))["spec"]["template"]["spec"]["containers"]
    script = container["command"][-1].replace("/tmp/", f"{tmp_path}/").replace("/dev/", f"{tmp_path}/")
    command = tmp_path / "longtake"
    command.write_text(f'#!/bin/sh\necho "$@"\necho "{last}" >&2\nexit {code}\n')
    command.chmod(0o755)
    done = subprocess.run(
        ["sh", "-c", script], env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, capture_output=True, check=False, text=True
    )
    assert done.returncode == ends
    assert done.stdout.splitlines() == ["reproduce --newest 3", last]
    assert (tmp_path / "termination-log").read_text() == f"{last}\n"


def test_what_is_told_of_how_it_ended() -> None:
    good = replayed(job("Complete"), [pod("3 replayed, all 15 digests are equal")], NOW)
    assert (good.lacks, good.differs, good.words) == (None, False, "3 replayed, all 15 digests are equal")

    bad = replayed(job("Failed", "PodFailurePolicy"), [pod("error: 1 of 3 videos came out otherwise", 1)], NOW)
    assert bad.lacks is not None
    assert (bad.differs, bad.lacks.message) == (True, "1 of 3 videos came out otherwise")


@pytest.mark.parametrize("ended", [job(), job("Failed", "DeadlineExceeded"), job("Failed", "BackoffLimitExceeded")])
def test_what_could_not_be_tried_is_no_difference(ended: dict[str, Any]) -> None:
    away = replayed(ended, [pod("error: the store does not answer", 4)], NOW)
    assert away.lacks is not None
    assert (away.differs, away.lacks.reason) == (False, "ReplayWaits")
    assert away.lacks.message.endswith("the store does not answer")


@pytest.mark.parametrize("code", [2, 3, 5, 137])
def test_what_cannot_be_judged_is_tried_three_times_and_is_then_unfit_and_no_difference(code: int) -> None:
    tries = [pod("error: could not be judged: ZeroDivisionError: oh", code)] * TRIES
    twice = replayed(job(), tries[1:], NOW)
    assert twice.lacks is not None
    assert (twice.unfit, twice.lacks.reason) == (False, "ReplayWaits")

    found = replayed(job(), tries, NOW)
    assert found.lacks is not None
    assert (found.unfit, found.differs, found.lacks.reason) == (True, False, "ReplayUnfit")
    assert found.lacks.message.startswith("finished videos could not be judged, 3 times: ")


def test_what_may_be_over_soon_counts_as_no_try() -> None:
    evicted = pod("", 143)
    evicted["status"]["conditions"] = [{"type": "DisruptionTarget", "status": "True"}]
    for one in (evicted, pod("error: the store does not answer", 4)):
        found = replayed(job(), [one] * 9, NOW)
        assert found.lacks is not None
        assert (found.unfit, found.differs, found.lacks.reason) == (False, False, "ReplayWaits")


def test_other_pods_of_the_service_say_nothing_of_it() -> None:
    denoiser = pod("killed", 137, **{"app.kubernetes.io/component": "denoise"})
    found = replayed(job(), [denoiser], NOW)
    assert found.lacks is not None
    assert found.lacks.reason == "Replaying"
