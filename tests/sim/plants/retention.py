"""Bugs in the collector, and in those who write while it works."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace

from serving.jobs.record import JobRecord
from serving.retention import expire, references
from serving.retention.context import Collection
from serving.retention.known import Reach
from serving.retention.mark import Mark
from serving.retention.sweep import Fate, Kind, Sweep, TenantKinds
from serving.segments.manifest import SegmentManifest
from serving.settings import Retention
from serving.store import sweeping
from serving.store.base import Listed, Store
from serving.store.blobs import Blobs
from tests.sim.plants.plant import Plant, put


def leaves_blobs_old(stack: ExitStack) -> None:
    """Whoever finds a blob there takes it as it is, however old."""

    async def found(self: Blobs, key: str) -> bool:
        return True

    put(stack, Blobs, "_renew", found)


def outruns(stack: ExitStack) -> None:
    """What a running attempt wrote before the margin is not spared."""
    put(stack, Mark, "_note_unfinished", lambda self, record: self.unfinished.add([record.id]))


def undisturbed(stack: ExitStack) -> None:
    """Who writes a blob does not look for a sweep."""

    async def look(store: Store, key: str) -> bool:
        return True

    put(stack, sweeping, "undisturbed", look)


def unannounced(stack: ExitStack) -> None:
    """The collector deletes without saying what."""

    @contextlib.asynccontextmanager
    async def announced(store: Store, names: Sequence[str]) -> AsyncIterator[int]:
        yield 10**15

    put(stack, sweeping, "announced", announced)


def looks_once(stack: ExitStack) -> None:
    """The collector does not look again how old a blob is once it has announced its delete."""

    async def still_old(self: Sweep, kind: Kind, doomed: Sequence[Listed]) -> list[Listed]:
        return list(doomed)

    put(stack, Sweep, "_still_old", still_old)


def hasty(stack: ExitStack) -> None:
    """A collector that is silent for two seconds is taken for dead."""
    put(stack, sweeping, "STALE_S", 2.0)


def forgets_references(stack: ExitStack) -> None:
    """The collector does not know that a job needs the pictures that its user handed in."""

    def blobs_of_job(record: JobRecord) -> Iterator[str]:
        yield from record.images

    put(stack, references, "blobs_of_job", blobs_of_job)


def forgets_latents(stack: ExitStack) -> None:
    """The collector does not know that a segment needs the latents of its references."""
    of_segment = references.blobs_of_segment

    def blobs_of_segment(manifest: SegmentManifest) -> Iterator[str]:
        left_out = {latents.blob for latents in manifest.references}
        yield from (blob for blob in of_segment(manifest) if blob not in left_out)

    put(stack, references, "blobs_of_segment", blobs_of_segment)


def forgets_parents(stack: ExitStack) -> None:
    """The collector does not know that a job needs the video that it extends."""
    put(stack, references, "segments_of_job", lambda record: reversed(record.segments))
    of_segment = Mark._segment

    async def alone(self: Mark, key: str, digest: str) -> Reach:
        return replace(await of_segment(self, key, digest), leads_to=())

    put(stack, Mark, "_segment", alone)


def leaves_orphans(stack: ExitStack) -> None:
    """Keys of the active list that no record stands behind are never collected."""

    async def judge(self: Sweep, entry: Listed) -> Fate:
        return Fate.HELD

    put(stack, Sweep, "_judge_active", judge)


def leaves_checkpoints(stack: ExitStack) -> None:
    """Checkpoints of ended jobs are never collected."""
    put(stack, TenantKinds, "_is_of_unfinished_job", lambda self, key: True)


def takes_checkpoints(stack: ExitStack) -> None:
    """Checkpoints of jobs that run are collected with the others."""
    put(stack, TenantKinds, "_is_of_unfinished_job", lambda self, key: False)


def expires_early(stack: ExitStack) -> None:
    """A video with a time to live is deleted before that is over."""

    def past_its_time(record: JobRecord, retention: Retention, now_ms: int) -> bool:
        return record.state.terminal and record.state.value != "deleted" and record.expires_ms is not None

    put(stack, expire, "past_its_time", past_its_time)


def no_margin(stack: ExitStack) -> None:
    """The collector spares nothing that is young."""
    put(stack, Collection, "before", lambda self, seconds: self.report.snapshot_ms + 3_600_000)


BUGS: dict[str, Plant] = {
    "leaves-blobs-old": leaves_blobs_old,
    "outruns": outruns,
    "undisturbed": undisturbed,
    "unannounced": unannounced,
    "looks-once": looks_once,
    "hasty": hasty,
    "forgets-references": forgets_references,
    "forgets-latents": forgets_latents,
    "forgets-parents": forgets_parents,
    "leaves-orphans": leaves_orphans,
    "leaves-checkpoints": leaves_checkpoints,
    "takes-checkpoints": takes_checkpoints,
    "expires-early": expires_early,
    "no-margin": no_margin,
}
