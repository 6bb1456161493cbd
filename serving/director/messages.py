"""What the Director tells, on the wire of `longtake.internal.v1`. Pure; `deployments/director_replica.py` sends it."""

from __future__ import annotations

from collections.abc import Mapping

from serving.director.events import Batch, FeedEvent
from serving.gen.longtake.internal.v1 import director_pb2
from serving.jobs.ids import JobKey


def watch_response(batch: Batch) -> director_pb2.WatchResponse:
    """One message of a watch."""
    return director_pb2.WatchResponse(
        epoch=batch.epoch,
        cursor=batch.cursor,
        continuous=batch.continuous,
        events=map(_event, batch.events),
        places=None if batch.whys is None else _places(batch, batch.whys),
    )


def _places(batch: Batch, whys: Mapping[JobKey, str]) -> director_pb2.JobPlaces:
    places = (
        director_pb2.JobPlace(tenant=key[0], job=key[1], why=why, held_up=key in batch.held)
        for key, why in whys.items()
    )
    return director_pb2.JobPlaces(jobs=places, stage_away=bool(batch.away), models_away=batch.away)


def _event(event: FeedEvent) -> director_pb2.JobEvent:
    return director_pb2.JobEvent(
        tenant=event.tenant,
        job=event.job,
        version=event.version,
        record=event.record,
        stage=event.stage,
        steps_done=event.steps_done,
        segment_index=event.segment_index,
        preview=event.preview,
    )
