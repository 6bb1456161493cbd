"""What a stage logs of its calls: a line each, with the job, and of slices no more than a segment needs."""

from __future__ import annotations

import logging
from collections.abc import Awaitable
from dataclasses import replace
from typing import Any

import pytest
import structlog
from structlog.contextvars import merge_contextvars
from structlog.testing import capture_logs

from serving.logs import logger
from serving.segments.manifest import LatentRef
from serving.stages.call_log import Call, logged
from serving.stages.contracts import RenderCall, SliceCall, SliceResult, StageLost, TextCall
from serving.stages.loaded import Loaded
from serving.stages.text import TextEncoder
from tests.unit.serving.stages.small import CAPTION, MODEL, TENANT, TRACK

pytestmark = pytest.mark.anyio
SLICE = SliceCall(TENANT, "vid_a", 2, 1, MODEL, segment=3, seed=1, steps=8, fingerprint="f", replica="r")
SLICED = SliceResult(4, done=False, replica="r", from_step=2)
STORED = LatentRef(blob="b" * 64, start=0, count=5)


async def lines(call: Call, work: Awaitable[object]) -> list[dict[str, Any]]:
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.INFO))  # whoever was here before
    try:
        with capture_logs(processors=[merge_contextvars]) as found:
            await logged(call, work)
    finally:
        structlog.configure(**before)
    return [dict(line) for line in found]


async def gives(value: object) -> object:
    logger("checkpoint").warning("meanwhile")
    return value


async def test_a_stages_work_is_told_with_the_job_that_it_is_of(loaded: Loaded) -> None:
    call = TextCall(TENANT, MODEL, "d" * 64, CAPTION, job="vid_a")
    (line,) = await lines(call, TextEncoder(loaded).embed(call))
    assert (line["event"], line["tenant"], line["job"], line["model"]) == ("caption embedded", TENANT, "vid_a", MODEL)
    assert line["seconds"] >= 0


async def test_what_is_logged_meanwhile_is_of_the_job_too() -> None:
    meanwhile, done = await lines(RenderCall(TENANT, "vid_a", MODEL, TRACK, 0, 0), gives(None))
    assert [line["event"] for line in (meanwhile, done)] == ["meanwhile", "segment rendered"]
    assert meanwhile["job"] == done["job"] == "vid_a"


@pytest.mark.parametrize(
    ("call", "result", "told"),
    [
        (SLICE, SLICED, []),
        (SLICE, replace(SLICED, done=True, steps_done=8, latents=STORED), ["segment denoised"]),
        (replace(SLICE, replica=None), SLICED, ["segment begun"]),
        (replace(SLICE, replica="gone"), replace(SLICED, restored=True), ["segment begun"]),
        (replace(SLICE, replica=None), replace(SLICED, cancelled=True), []),
        (replace(SLICE, replica=None), replace(SLICED, stale=True), []),
    ],
    ids=["goes on", "is done", "begins", "begins elsewhere", "is cancelled", "is another's"],
)
async def test_of_slices_the_first_and_the_last_of_a_segment_are_told(
    call: SliceCall, result: SliceResult, told: list[str]
) -> None:
    found = [line for line in await lines(call, gives(result)) if line["event"] != "meanwhile"]
    assert [line["event"] for line in found] == told
    assert all((line["segment"], line["attempt"]) == (3, 2) for line in found)


async def test_what_goes_wrong_is_told_and_goes_on_to_the_caller() -> None:
    async def fails() -> None:
        raise StageLost("the worker died")

    with capture_logs(processors=[merge_contextvars]) as found, pytest.raises(StageLost):
        await logged(SLICE, fails())
    (line,) = found
    assert (line["event"], line["call"], line["cause"]) == ("call failed", "SliceCall", "StageLost")
    assert line["message"] == "the worker died"
    assert (line["job"], line["log_level"]) == ("vid_a", "warning")


def test_whose_work_it_is_decides_nothing() -> None:
    """Fingerprints of checkpoints are made of how a call is written, and were so before calls had a job."""
    call = TextCall(TENANT, MODEL, "d" * 64, CAPTION)
    assert repr(replace(call, job="vid_a")) == repr(call)
    assert replace(call, job="vid_a") == call
