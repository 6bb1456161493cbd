"""Reports: what a child writes is what its parent reads, and a parent that went away disturbs no child."""

from __future__ import annotations

import os

from serving.reports import Report, Reports, read


def test_a_parent_reads_what_the_child_tells() -> None:
    reading, writing = os.pipe()
    child = Reports(writing)
    child.say("starting")
    child.ready(grpc="127.0.0.1:1")
    child.failed("no space left", code=2)
    child.close()
    with os.fdopen(reading, "rb") as lines:
        assert [read(line) for line in lines] == [
            Report(text="starting"),
            Report(ready={"grpc": "127.0.0.1:1"}),
            Report(error="no space left", code=2),
        ]


def test_a_child_goes_on_when_nobody_listens_any_more() -> None:
    reading, writing = os.pipe()
    child = Reports(writing)
    os.close(reading)
    child.say("is anybody there?")
    child.close()
