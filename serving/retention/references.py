"""Who names what: the keys that a record or a manifest needs. Pure; `mark.py` and `scrub.py` follow them."""

from __future__ import annotations

from collections.abc import Iterator

from serving.files.record import FileRecord
from serving.jobs.ids import derived_id
from serving.jobs.record import JobRecord, JobState
from serving.segments.manifest import SegmentManifest
from serving.store import keys


def names_of_job(record: JobRecord) -> Iterator[str]:
    """The keys that stand for a job beside its content. Those of a deleted job are not needed any more.

    A file that was made of the job's result has an id derived from the job's. While the job lives, even the tombstone
    of such a file stays: without it the next poll would make the file again.
    """
    tenant = record.tenant
    yield keys.file(tenant, derived_id("file_", tenant, record.id))
    for number in range(len(record.images)):
        yield keys.file(tenant, derived_id("file_", tenant, f"{record.id}/{number}"))
    if record.state is not JobState.DELETED:
        yield keys.job(tenant, record.id)
        yield keys.job_by_time(tenant, record.created_ms, record.id)
        yield keys.keep_note(tenant, record.id)


def names_of_file(record: FileRecord) -> Iterator[str]:
    """The keys that stand for a file beside its bytes."""
    if not record.deleted:
        yield keys.file(record.tenant, record.id)
        yield keys.file_by_time(record.tenant, record.created_ms, record.id)


def blobs_of_job(record: JobRecord) -> Iterator[str]:
    """Digests of what the user handed in, and of finished images."""
    request = record.request
    if request.first_frame:
        yield request.first_frame
    if request.ingests:
        yield request.ingests.blob
    yield from request.references
    yield from record.images


def segments_of_job(record: JobRecord) -> Iterator[str]:
    """Digests of the manifests that a job made, newest first, and of the one that it extends."""
    yield from reversed(record.segments)
    if record.request.extends:
        yield record.request.extends.segment


def blobs_of_segment(manifest: SegmentManifest) -> Iterator[str]:
    """Digests of all that a segment needs, but for its parents'."""
    for latents in (manifest.latents, manifest.anchor, manifest.tail, *manifest.references):
        yield latents.blob
    for part in manifest.parts:
        yield part.blob
    yield manifest.init
    yield manifest.thumbnail
