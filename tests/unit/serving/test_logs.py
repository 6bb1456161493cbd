"""Logs are one JSON object per line and carry the job they belong to."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from serving.logs import STREAM

PROGRAM = """
import contextvars
from serving.logs import configure, job_context, logger
configure(service="test")
log = logger("room")
with job_context("studio", "vid_a"):
    log.info("inside", steps=3)
with job_context("studio", "vid_b", "0af7"):
    log.info("traced")
contextvars.Context().run(log.info, "outside")  # as a call to a replica, which has a context of its own
log.debug("too small a thing")
try:
    raise ValueError("broken")
except ValueError as error:
    log.error("failed", exc_info=error)
"""


def ran(more: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """`PROGRAM` in an environment that says of streams what `more` says: the local Ray's tests name one of theirs."""
    environment = {name: value for name, value in os.environ.items() if name != STREAM} | more
    return subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, env=environment)


def test_events_are_json_lines_with_the_job_they_belong_to() -> None:
    done = ran({})
    inside, traced, outside, failed = [json.loads(line) for line in done.stderr.splitlines()]

    assert (inside["event"], inside["service"], inside["room"], inside["level"]) == ("inside", "test", "room", "info")
    assert (inside["tenant"], inside["job"], inside["steps"]) == ("studio", "vid_a", 3)
    assert "trace_id" not in inside
    assert (traced["job"], traced["trace_id"]) == ("vid_b", "0af7")
    assert outside["service"] == "test"
    assert not {"job", "trace_id"} & outside.keys()
    assert "ValueError: broken" in failed["exception"]
    assert done.stdout == ""


def test_they_go_where_the_environment_wants_them_and_if_that_cannot_be_to_stderr(tmp_path: Path) -> None:
    def run(stream: Path) -> str:
        return ran({STREAM: str(stream)}).stderr

    there = tmp_path / "all.log"
    assert (run(there), run(there)) == ("", "")
    assert [json.loads(line)["event"] for line in there.read_text().splitlines()] == [
        "inside",
        "traced",
        "outside",
        "failed",
    ] * 2

    told, *events = [json.loads(line) for line in run(tmp_path / "none" / "all.log").splitlines()]
    assert (told["event"], told["wanted"]) == ("logs go to stderr", str(tmp_path / "none" / "all.log"))
    assert len(events) == 4
