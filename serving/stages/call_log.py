"""A line in the log for each thing that a stage did for a job, so that a job's life can be read from pods' logs.

The replicas (`deployments/replicas.py`) make all calls through it. What a stage logs meanwhile carries the job, too.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable
from typing import TypeVar

from serving.logs import job_context, logger
from serving.stages.contracts import (
    ConditionCall,
    ImageCall,
    IngestCall,
    InputsCall,
    PromptCall,
    RenderCall,
    SliceCall,
    SliceResult,
    TextCall,
)

Call = PromptCall | TextCall | InputsCall | IngestCall | ConditionCall | SliceCall | RenderCall | ImageCall
T = TypeVar("T")
_DONE: dict[type[Call], str] = {
    PromptCall: "prompt written",
    TextCall: "caption embedded",
    InputsCall: "pictures read",
    IngestCall: "video ingested",
    ConditionCall: "conditions gathered",
    SliceCall: "segment denoised",
    RenderCall: "segment rendered",
    ImageCall: "image rendered",
}
_log = logger("stage")


async def logged(call: Call, work: Awaitable[T]) -> T:
    """What the work gives, and a line of it. Of slices there are two a second and more: the one that begins a segment
    anywhere has a line, and the one that ends it. What goes wrong is the caller's to judge, and told here, too."""
    began = time.monotonic()
    with job_context(call.tenant, call.job):
        try:
            made = await work
        except Exception as error:
            why = {"cause": type(error).__name__, "message": str(error)}
            _log.warning("call failed", call=type(call).__name__, **why, **_about(call, began))
            raise
        if not isinstance(call, SliceCall) or not isinstance(made, SliceResult):
            _log.info(_DONE[type(call)], **_about(call, began))
        elif made.done:
            _log.info(_DONE[SliceCall], steps=made.steps_done, **_about(call, began))
        elif call.replica != made.replica and not made.stale and not made.cancelled:
            _log.info("segment begun", from_step=made.from_step, restored=made.restored, **_about(call, began))
        return made


def _about(call: Call, began: float) -> dict[str, object]:
    about: dict[str, object] = {"model": call.model, "seconds": round(time.monotonic() - began, 3)}
    if isinstance(call, SliceCall):
        about |= {"segment": call.segment, "attempt": call.attempt}
    return about
