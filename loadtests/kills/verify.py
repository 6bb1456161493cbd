"""Afterwards: is every acknowledged job there, once, whole, and equal to one that nobody disturbed?"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from loadtests.kills.clients import Spec
from serving.errors import LongtakeError
from serving.jobs.history import EventKind
from serving.jobs.record import JobRecord, JobState
from serving.jobs.repository import Jobs
from serving.segments.lineage import Segments
from serving.store.base import Store
from serving.store.blobs import Blobs

TENANT = "default"


@dataclass
class Findings:
    """What was found in the store."""

    jobs: int = 0
    lost: list[str] = field(default_factory=list)
    not_succeeded: list[str] = field(default_factory=list)
    different: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    """Jobs that met errors of ours, though they were made."""
    attempts: Counter[int] = field(default_factory=Counter)
    events: Counter[str] = field(default_factory=Counter)
    steps: int = 0
    recomputed: list[int] = field(default_factory=list)
    """Steps, by loss."""
    step_s: list[float] = field(default_factory=list)
    """Of every segment, the time from its first to its last step, by step."""

    @property
    def good(self) -> bool:
        """Whether all that must hold does."""
        return not (self.lost or self.not_succeeded or self.different or self.faults)


async def digest(store: Store, record: JobRecord) -> str:
    """Of all that a video is made of, read back and verified: latents, media, frames. Raises `LongtakeError`."""
    sum_ = hashlib.sha256()
    blobs = Blobs(store, record.tenant)
    for name in record.segments:
        manifest = await Segments(store, record.tenant).get(name)
        part = manifest.parts[-1]
        for blob in (manifest.latents.blob, manifest.init, part.blob, manifest.thumbnail):
            sum_.update(await blobs.get(blob))
        sum_.update(f"{manifest.frames} {manifest.start_frame} {part}".encode())
    return sum_.hexdigest()


async def verify(store: Store, acknowledged: Mapping[str, Spec], undisturbed: Mapping[Spec, str]) -> Findings:
    """Look at every acknowledged job."""
    found = Findings()
    for job, spec in acknowledged.items():
        found.jobs += 1
        try:
            record = await Jobs(store).get(TENANT, job)
        except LongtakeError as error:
            found.lost.append(f"{job}: {error.message}")
            continue
        if record.faults:
            found.faults.append(f"{job}: {record.faults} times")
        if record.state is not JobState.SUCCEEDED or len(record.segments) != spec.seconds:
            found.not_succeeded.append(f"{job}: {record.state} {record.error}, {len(record.segments)} segments")
            continue
        if await digest(store, record) != undisturbed[spec]:
            found.different.append(f"{job}: {spec}")
        _history(found, record)
    return found


def _history(found: Findings, record: JobRecord) -> None:
    found.attempts[record.attempt] += 1
    found.steps += record.steps_done
    for event in record.events:
        found.events[event.kind] += 1
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
