"""Afterwards: is every acknowledged job there, once, whole, and equal to one that nobody disturbed?

What was cancelled has ended by that or before it, what was deleted is gone, and nothing that is needed went with it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

from loadtests.kills.clients import Ours
from loadtests.kills.parts import Part
from loadtests.kills.specs import Spec
from serving.errors import LongtakeError, NotFound
from serving.jobs.history import EventKind
from serving.jobs.record import JobRecord, JobState
from serving.jobs.repository import Jobs
from serving.segments.lineage import Segments
from serving.store.base import Store
from serving.store.blobs import Blobs


async def digest(store: Store, record: JobRecord) -> str:
    """Of all that a job made, read back and verified: latents, media, frames. Raises `LongtakeError`."""
    sum_ = hashlib.sha256()
    blobs = Blobs(store, record.tenant)
    for name in record.segments:
        manifest = await Segments(store, record.tenant).get(name)
        part = manifest.parts[-1]
        for blob in (manifest.latents.blob, manifest.init, part.blob, manifest.thumbnail):
            sum_.update(await blobs.get(blob))
        sum_.update(f"{manifest.frames} {manifest.start_frame} {part}".encode())
    for image in record.images:
        sum_.update(await blobs.get(image))
    return sum_.hexdigest()


async def verify(store: Store, jobs: Mapping[str, Ours], undisturbed: Mapping[Spec, str], found: Part) -> None:
    """Look at every acknowledged job."""
    for job, ours in jobs.items():
        found.jobs += 1
        found.kinds[ours.spec.kind] += 1
        found.then[ours.then] += 1
        try:
            await _look(store, job, ours, undisturbed, found)
        except LongtakeError as error:
            found.lost.append(f"{job}: {error.message}")


async def _look(store: Store, job: str, ours: Ours, undisturbed: Mapping[Spec, str], found: Part) -> None:
    try:
        record = await Jobs(store).get(ours.tenant, job)
    except NotFound:
        if ours.then == "deleted":
            return
        raise
    if ours.then == "deleted":
        found.not_made.append(f"{job}: it was deleted, and is {record.state}")
        return
    if record.faults:
        found.faults.append(f"{job}: {record.faults} times")
    if ours.then == "cancelled" and record.state is JobState.CANCELLED:
        return
    made = len(record.images) if record.images else len(record.segments)
    if record.state is not JobState.SUCCEEDED or made != len(record.plan.segments):
        found.not_made.append(f"{job}: {record.state} {record.error}, {made} of {len(record.plan.segments)} made")
        return
    if await digest(store, record) != undisturbed[ours.spec]:
        found.different.append(f"{job}: {ours.spec}")
    _history(found, record)


def _history(found: Part, record: JobRecord) -> None:
    found.steps += record.steps_done
    for event in record.events:
        found.events[str(event.kind)] += 1
        found.step_s += [
            (span.end_ms - span.start_ms) / 1000 / record.plan.steps
            for span in event.spans
            if span.stage == "denoising"
        ]
        if event.kind is EventKind.RESUMED and event.recomputed:
            found.recomputed.append(event.recomputed)


def lines(title: str, wrong: Iterable[str]) -> str:
    """For people."""
    return "".join(f"\n  {title}: {line}" for line in wrong)
