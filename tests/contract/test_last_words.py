"""A front door that does not start says why, and the operator tells it in the pod's name."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from operators.children.desired import desired
from operators.policies.state import why_not
from tests.unit.operators.services import OWNER, spec

LOG_BYTES = 2048
"""What a kubelet takes of a log's end (`FallbackToLogsOnError`)."""


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            {"LONGTAKE_MODEL": "wan-1.3b"},
            "'wan-1.3b' is not known; there is sprite-2, and `longtake models add` adds one",
        ),
        ({"LONGTAKE_ENGINES__VARIANT": "tensorrt_rtx-sm89"}, "longtake engines build"),
    ],
    ids=["no such model", "no such engines"],
)
def test_what_the_store_lacks_is_told_of_and_not_that_it_crashes(
    tmp_path: Path, settings: dict[str, str], said: str
) -> None:
    command = [sys.executable, "-m", "serving.frontdoor"]
    there = {"LONGTAKE_STORE": str(tmp_path), "LONGTAKE_GRPC__ADDRESS": "127.0.0.1:0", **settings}
    door = subprocess.run(
        command, env={**os.environ, **there}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, timeout=60
    )
    (deployment,) = (child for child in desired(OWNER, spec(), "") if child["kind"] == "Deployment")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert (door.returncode != 0, container["terminationMessagePolicy"]) == (True, "FallbackToLogsOnError")

    ended = {"exitCode": door.returncode, "reason": "Error", "message": door.stdout[-LOG_BYTES:].decode()}
    waiting = {"reason": "CrashLoopBackOff", "message": "back-off 40s restarting failed container"}
    state = {"name": container["name"], "state": {"waiting": waiting}, "lastState": {"terminated": ended}}
    told = why_not(
        {"metadata": {"name": "lt-frontdoor-1"}, "status": {"containerStatuses": [state]}}, datetime.now(UTC)
    )
    assert told.startswith("frontdoor ends at each start: longtake front door: ")
    assert said in told
