"""One line of `longtake jobs ls`."""

from __future__ import annotations

import pytest

from serving.cli.jobs import _line
from serving.gen.longtake.v1 import jobs_pb2, videos_pb2


def _job(why: str) -> jobs_pb2.Job:
    video = videos_pb2.Video(id="vid_a", state=videos_pb2.Video.QUEUED, priority=5)
    return jobs_pb2.Job(video=video, remaining_seconds=2.0, why=why)


@pytest.mark.parametrize("why", ["over its share", "cannot be in time", "next"])
def test_a_job_that_waits_says_why(why: str) -> None:
    assert _line(_job(why)).endswith(f"2.0 s of work    {why}")


def test_one_that_runs_or_of_which_nothing_is_said_says_no_more_than_its_state() -> None:
    assert _line(_job("running")).endswith("2.0 s of work")
    assert _line(_job("")).endswith("2.0 s of work")
