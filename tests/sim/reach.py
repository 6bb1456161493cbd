"""What must stay and what must go: every key that a living video needs lies there, and at the end nothing else does.

Who needs what is worked out here once more, from the records that were written: the collector's own lists
(`serving/retention/references.py`) are not asked. The `Ledger` tells of every record and asks at every delete.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping

from serving.jobs.record import JobRecord, JobState
from serving.segments.manifest import SegmentManifest
from tests.sim.known import Job
from tests.sim.published import must
from tests.sim.store import Disk


class Reach:
    """Of one world."""

    def __init__(self, disk: Disk, jobs: Mapping[str, Job]) -> None:
        self._disk = disk
        self._jobs = jobs
        self._needed: defaultdict[str, set[str]] = defaultdict(set)
        """By key: the living jobs that need it."""
        self._paths: dict[str, frozenset[str]] = {}
        """By the key of a manifest: it, its parents and all their blobs."""

    def wrote(self, record: JobRecord) -> None:
        """A record is about to be in the store."""
        if record.state is JobState.DELETED:
            for jobs in self._needed.values():
                jobs.discard(record.id)
            return
        for key in self._content(record):
            self._needed[key].add(record.id)

    def deleted(self, key: str, *, by_collector: bool) -> None:
        """Somebody deletes a key."""
        needing = self._needed.get(key)
        must(not needing, f"{key}: it was deleted, and {', '.join(sorted(needing or ()))} cannot do without it")
        job = self._job_of(key)
        if job is None:
            return
        if key.startswith("dead/"):
            again = any(other.record.requeue_of == job.record.id for other in self._jobs.values())
            over = again or job.record.state is JobState.DELETED
            must(over, f"{key}: the dead letter was deleted, and the job is {job.record.state}")
        elif by_collector:
            must(job.record.state.terminal, f"{key}: it was deleted, and its job is {job.record.state}")
        elif "/checkpoints/" in key:
            newer = [name for name in self._disk.names(key.rpartition("/")[0] + "/") if name > key]
            must(len(newer) > 1, f"{key}: it was deleted, and it is among the newest two")

    def missing(self) -> list[str]:
        """What is needed and not there."""
        return sorted(key for key, jobs in self._needed.items() if jobs and key not in self._disk.objects)

    def garbage(self) -> list[str]:
        """What lies there and nobody needs, when no idempotency key and no cache is good any more."""
        wanted = {key for key, jobs in self._needed.items() if jobs}
        for job in self._jobs.values():
            record = job.record
            home = f"t/{record.tenant}"
            head = f"{home}/jobs/{record.id}"
            if record.state is not JobState.DELETED:
                inverted = [key for key in self._disk.names(f"{home}/by-time/") if key.endswith(f"-{record.id}")]
                wanted |= {head, *inverted[:1], f"dead/{record.tenant}/{record.id}"}
                wanted |= {f"{home}/quarantine/{digest}" for digest in _inputs(record)}
            elif any(self._needed.get(f"{home}/segments/{digest}") for digest in record.segments):
                wanted.add(head)  # a tombstone from whose segments a living video descends
        return [key for key in self._disk.objects if key not in wanted and not _is_a_note(key)]

    def _content(self, record: JobRecord) -> Iterator[str]:
        home = f"t/{record.tenant}"
        yield from (f"{home}/blobs/{digest}" for digest in (*_inputs(record), *record.images))
        extended = (record.request.extends.segment,) if record.request.extends else ()
        for digest in (*extended, *record.segments[-1:]):
            yield from self._path(f"{home}/segments/{digest}")

    def _path(self, key: str) -> frozenset[str]:
        if key not in self._paths:
            stored = self._disk.objects.get(key)
            must(stored is not None, f"{key} is named, and is not in the store")
            assert stored is not None
            manifest = SegmentManifest.decode(stored.data)
            home = f"t/{manifest.tenant}"
            latents = (manifest.latents, manifest.anchor, manifest.tail, *manifest.references)
            blobs = (manifest.init, manifest.thumbnail, *(ref.blob for ref in latents))
            own = {key, *(f"{home}/blobs/{digest}" for digest in (*blobs, *(part.blob for part in manifest.parts)))}
            above = self._path(f"{home}/segments/{manifest.parent}") if manifest.parent else frozenset[str]()
            self._paths[key] = above | own
        return self._paths[key]

    def _job_of(self, key: str) -> Job | None:
        parts = key.split("/")
        if parts[0] == "leases":
            return self._jobs.get(parts[1])
        if parts[0] == "t" and parts[2] == "checkpoints":
            return self._jobs.get(parts[3])
        return self._jobs.get(key.rpartition("/")[2]) if parts[0] == "dead" else None


def _is_a_note(key: str) -> bool:
    """Of the installation's own, or what collections learned."""
    return key.startswith("runtime/") or "/marks/" in key


def _inputs(record: JobRecord) -> tuple[str, ...]:
    first = record.request.first_frame
    return (*((first,) if first else ()), *record.request.references)
