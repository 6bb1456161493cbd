"""Who names what: the keys that a record or a manifest needs. Pure; `mark.py` and `scrub.py` follow them.

The names of keys are made by the repositories that write them (`jobs/repository.py`, `store/blobs.py`,
`files/repository.py`, …); they are written down here once more, for the collector looks at them from outside. A test
holds the two together.
"""

from __future__ import annotations

from collections.abc import Iterator

from serving.files.record import FileRecord
from serving.jobs.ids import derived_id
from serving.jobs.record import JobRecord, JobState
from serving.segments.manifest import SegmentManifest

_TIME_TOP = 10**14
_LAST_FILE_MS = 10**15 - 1


def job_key(tenant: str, job: str) -> str:
    """A job's record."""
    return f"t/{tenant}/jobs/{job}"


def file_key(tenant: str, file_id: str) -> str:
    """A file's record."""
    return f"t/{tenant}/files/{file_id}"


def segment_key(tenant: str, digest: str) -> str:
    """A manifest."""
    return f"t/{tenant}/segments/{digest}"


def blob_key(tenant: str, digest: str) -> str:
    """A blob."""
    return f"t/{tenant}/blobs/{digest}"


def names_of_job(record: JobRecord) -> Iterator[str]:
    """The keys that stand for a job beside its content. Those of a deleted job are not needed any more.

    A file that was made of the job's result has an id derived from the job's. While the job lives, even the tombstone
    of such a file stays: without it the next poll would make the file again.
    """
    tenant = record.tenant
    yield file_key(tenant, derived_id("file_", tenant, record.id))
    for number in range(len(record.images)):
        yield file_key(tenant, derived_id("file_", tenant, f"{record.id}/{number}"))
    if record.state is not JobState.DELETED:
        yield job_key(tenant, record.id)
        yield f"t/{tenant}/by-time/{_TIME_TOP - record.created_ms:014d}-{record.id}"
        yield f"t/{tenant}/keep/{record.id}"


def names_of_file(record: FileRecord) -> Iterator[str]:
    """The keys that stand for a file beside its bytes."""
    if not record.deleted:
        yield file_key(record.tenant, record.id)
        yield f"t/{record.tenant}/files-by-time/{_LAST_FILE_MS - record.created_ms:015d}-{record.id}"


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
