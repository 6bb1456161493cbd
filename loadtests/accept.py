"""Jobs as a front door would have written them, without one. The studio makes them, and the tests of the Director."""

from __future__ import annotations

from typing import Any

from engines import models
from serving.jobs.ids import new_id
from serving.jobs.record import JobRecord
from serving.jobs.repository import Jobs
from serving.plan import plan
from serving.requests import OwnSource, VideoRequest
from serving.segments.lineage import Segments, shape_of
from serving.store.base import Store


async def accept(
    request: VideoRequest,
    *,
    store: Store,
    jobs: Jobs,
    tenant: str,
    model_digest: str,
    created_ms: int,
    **fields: Any,
) -> JobRecord:
    """The stored record of a new job, with these `fields` set beside. Raises as `plan` does."""
    extends = request.extends
    planned = plan(
        request,
        models.family(request.model).capabilities,
        model_digest=model_digest,
        seed=request.seed or 0,
        parent=shape_of(await Segments(store, tenant).get(extends.segment)) if extends else None,
    )
    record = JobRecord(id=new_id("vid_"), tenant=tenant, request=request, plan=planned, created_ms=created_ms, **fields)
    return (await jobs.create(record)).record


def source(parent: JobRecord | None) -> OwnSource | None:
    """What an extension of `parent` extends: its newest segment."""
    if parent is None:
        return None
    if parent.head is None:
        raise ValueError(f"{parent.id} has no segment to go on from: wait until it has one")
    return OwnSource(video=parent.id, segment=parent.head)
