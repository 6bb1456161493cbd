"""Every key of the store, made and read here alone. Pure: strings in, strings out.

Jobs, segments, files, stages and the front door write under these keys, and the collector, which looks at them from
outside, takes them from here too; so the two cannot drift apart. `docs/store.md` says what the objects hold.

    key                                                                        what it is
    t/<tenant>/jobs/<job>                                                      a job's record
    t/<tenant>/by-time/<inverted ms>-<job>                                     lists a tenant's jobs, newest first
    t/<tenant>/keep/<job>                                                      which file to make of a job's result
    t/<tenant>/files/<file>                                                    a file's record
    t/<tenant>/files-by-time/<inverted ms>-<file>                              lists a tenant's files, newest first
    t/<tenant>/segments/<digest>                                               a manifest
    t/<tenant>/pages/<digest>                                                  lists segments of a path
    t/<tenant>/blobs/<digest>                                                  bytes
    t/<tenant>/cache/<kind>/<content>                                          the digest of what was computed of it
    t/<tenant>/checkpoints/<job>/<segment>/<work>/<step>-<attempt>-<digest>    a segment's denoising state
    t/<tenant>/marks/<digest>                                                  what collections learned
    t/<tenant>/quarantine/<digest>                                             an input that ended its workers
    active/<shard>/<tenant>/<priority>/<deadline ms>/<job>                     a job that waits or runs
    dead/<tenant>/<job>                                                        a dead letter
    leases/<job>/<attempt>                                                     which replica works on an attempt
    runtime/epoch                                                              the number of the newest Director
    runtime/estimates                                                          how long work takes
    runtime/sweep                                                              what is being deleted now
    runtime/collector                                                          whose turn it is to collect
    runtime/director                                                           where the Director listens
    runtime/director-token                                                     the secret of calls to the Director
    runtime/url-key                                                            the secret that signs media URLs
    probe/<random>/<what>                                                      a probe's own, gone in seconds
    probe/<random>                                                             shows the store's time, gone at once
    engines/<...>                                                              built engines (`engines/store.py`)
    models/<...>                                                               added models (`engines/added.py`)

A key is made by the server, never by a user: tenants and ids are checked before they come here. Keys are never written
in another form: what an earlier version wrote is found under the same names.
"""

from __future__ import annotations

import re
from typing import NamedTuple

TENANTS = "t/"
"""What belongs to one tenant each."""
ACTIVE = "active/"
LEASES = "leases/"
PROBES = "probe/"

EPOCH = "runtime/epoch"
ESTIMATES = "runtime/estimates"
SWEEP = "runtime/sweep"
COLLECTOR = "runtime/collector"
DIRECTOR_ADDRESS = "runtime/director"
DIRECTOR_TOKEN = "runtime/director-token"  # noqa: S105  (a key's name)
URL_KEY = "runtime/url-key"

_JOBS_UNTIL_MS = 10**14
"""Jobs are listed by `_JOBS_UNTIL_MS - ms` in 14 digits: the newest has the smallest number and comes first."""
_FILES_UNTIL_MS = 10**15 - 1
"""The same for files, in 15 digits."""
_NO_DEADLINE = 10**14 - 1
_SHARDS = 256
_BEFORE_SLASH = "-."
"""Characters of a name that sort before the slash behind it."""
_BEHIND = "~"
"""Sorts behind every character that a key may have."""
_ID, _DIGEST, _NAME = "[a-z]+_[a-z0-9]+", "[0-9a-f]{64}", "[A-Za-z0-9_-][A-Za-z0-9._-]*"
_OURS = re.compile(
    rf"(t/{_NAME}/((jobs|keep|files)/{_ID}|(by-time|files-by-time)/[0-9]+-{_ID}"
    rf"|(segments|pages|blobs|marks|quarantine)/{_DIGEST}|cache/{_NAME}/{_DIGEST}"
    rf"|checkpoints/{_ID}/[0-9]+/{_NAME}/[0-9]+-[0-9]+-{_DIGEST})"
    rf"|dead/{_NAME}/{_ID}|leases/{_ID}/[0-9]+|probe/[0-9a-f]+(/[a-z0-9-]+)?|engines/blobs/{_DIGEST}"
    rf"|models/{_NAME}/(record\.json|files-{_DIGEST}))"
)


# ── one tenant's ────────────────────────────────────────────────────────────────────────────────────────────────────


def job(tenant: str, job_id: str) -> str:
    """A job's record."""
    return f"{jobs_of(tenant)}{job_id}"


def jobs_of(tenant: str) -> str:
    """Begins every key of `job`."""
    return f"t/{tenant}/jobs/"


def job_by_time(tenant: str, created_ms: int, job_id: str) -> str:
    """Lists a job. The listing's order is newest first, and then by id."""
    return f"{jobs_by_time_of(tenant)}{_JOBS_UNTIL_MS - created_ms:014d}-{job_id}"


def jobs_by_time_of(tenant: str) -> str:
    """Begins every key of `job_by_time`."""
    return f"t/{tenant}/by-time/"


def jobs_until(tenant: str, created_ms: int) -> str:
    """In a listing, behind all jobs that were created at this time or later, and before all older ones."""
    return f"{jobs_by_time_of(tenant)}{_JOBS_UNTIL_MS - created_ms:014d}{_BEHIND}"


def keep_note(tenant: str, job_id: str) -> str:
    """The note which file is to be made of a job's result."""
    return f"{keep_notes_of(tenant)}{job_id}"


def keep_notes_of(tenant: str) -> str:
    """Begins every key of `keep_note`."""
    return f"t/{tenant}/keep/"


def file(tenant: str, file_id: str) -> str:
    """A file's record."""
    return f"{files_of(tenant)}{file_id}"


def files_of(tenant: str) -> str:
    """Begins every key of `file`."""
    return f"t/{tenant}/files/"


def file_by_time(tenant: str, created_ms: int, file_id: str) -> str:
    """Lists a file, newest first."""
    return f"{files_by_time_of(tenant)}{_FILES_UNTIL_MS - created_ms:015d}-{file_id}"


def files_by_time_of(tenant: str) -> str:
    """Begins every key of `file_by_time`."""
    return f"t/{tenant}/files-by-time/"


def segment(tenant: str, digest: str) -> str:
    """A segment's manifest."""
    return f"{segments_of(tenant)}{digest}"


def segments_of(tenant: str) -> str:
    """Begins every key of `segment`."""
    return f"t/{tenant}/segments/"


def page(tenant: str, digest: str) -> str:
    """A page of a video's path."""
    return f"{pages_of(tenant)}{digest}"


def pages_of(tenant: str) -> str:
    """Begins every key of `page`."""
    return f"t/{tenant}/pages/"


def blob(tenant: str, digest: str) -> str:
    """Bytes that are named by their SHA-256."""
    return f"{blobs_of(tenant)}{digest}"


def blobs_of(tenant: str) -> str:
    """Begins every key of `blob`."""
    return f"t/{tenant}/blobs/"


def cached(tenant: str, kind: str, content: str) -> str:
    """The digest of what was computed of this content."""
    return f"{caches_of(tenant)}{kind}/{content}"


def caches_of(tenant: str) -> str:
    """Begins every key of `cached`."""
    return f"t/{tenant}/cache/"


def checkpoint(work: str, step: int, attempt: int, digest: str) -> str:
    """A checkpoint of the work that `checkpoints_of_work` begins. Names sort by step."""
    return f"{work}{step:06d}-{attempt}-{digest}"


def checkpoints_of_work(tenant: str, job_id: str, segment_index: int, fingerprint: str) -> str:
    """Begins the checkpoints of one segment that is made in one way.

    By fingerprint, for what another version wrote cannot be gone on with, and must not count among the newest.
    """
    return f"{checkpoints_of(tenant)}{job_id}/{segment_index:05d}/{fingerprint[:16]}/"


def checkpoints_of(tenant: str) -> str:
    """Begins every key of `checkpoint`."""
    return f"t/{tenant}/checkpoints/"


def quarantined(tenant: str, digest: str) -> str:
    """The note that this input ended worker after worker."""
    return f"{quarantine_of(tenant)}{digest}"


def quarantine_of(tenant: str) -> str:
    """Begins every key of `quarantined`."""
    return f"t/{tenant}/quarantine/"


def mark(tenant: str, digest: str) -> str:
    """What a collection learned."""
    return f"{marks_of(tenant)}{digest}"


def marks_of(tenant: str) -> str:
    """Begins every key of `mark`."""
    return f"t/{tenant}/marks/"


def behind(tenant: str) -> str:
    """In a listing of all tenants, behind all that this one has."""
    return f"t/{tenant}/{_BEHIND}"


def tenants_like(tenant: str) -> tuple[str, ...]:
    """Begin the keys of tenants whose names are this one's and more, and that come before it by the bytes of keys."""
    return tuple(f"{TENANTS}{tenant}{more}" for more in _BEFORE_SLASH)


# ── the installation's ──────────────────────────────────────────────────────────────────────────────────────────────


class ActiveKey(NamedTuple):
    """What the key of a job that waits or runs tells: all that ordering needs."""

    tenant: str
    priority: int
    deadline_ms: int | None
    job: str


def active(tenant: str, priority: int, deadline_ms: int | None, job_id: str) -> str:
    """Says that a job waits or runs. No part of it changes in the job's life."""
    shard = sum(job_id.encode()) % _SHARDS
    due = _NO_DEADLINE if deadline_ms is None else deadline_ms
    return f"{ACTIVE}{shard:02x}/{tenant}/{priority}/{due:014d}/{job_id}"


def read_active(key: str) -> ActiveKey | None:
    """What `active` was made of; None for a key that it never made: people leave such, or half of a restore."""
    parts = key.removeprefix(ACTIVE).split("/")
    if len(parts) != 5 or (len(parts[2]), len(parts[3])) != (1, 14):
        return None
    if not (parts[2].isascii() and parts[2].isdigit() and parts[3].isascii() and parts[3].isdigit()):
        return None
    _, tenant, priority, due, job_id = parts
    deadline_ms = None if int(due) == _NO_DEADLINE else int(due)
    found = ActiveKey(tenant, int(priority), deadline_ms, job_id)
    return found if re.fullmatch(_NAME, job_id) and active(*found) == key else None


def dead_letter(tenant: str, job_id: str) -> str:
    """A job whose workers died again and again."""
    return f"{dead_letters_of(tenant)}{job_id}"


def dead_letters_of(tenant: str) -> str:
    """Begins every key of `dead_letter`."""
    return f"dead/{tenant}/"


def lease(job_id: str, attempt: int) -> str:
    """Which replica works on an attempt."""
    return f"{LEASES}{job_id}/{attempt}"


def probe(random: str, what: str) -> str:
    """What a process tries the store with, and removes."""
    return f"{probes_of(random)}{what}"


def probes_of(random: str) -> str:
    """Begins every key of one probe."""
    return f"{PROBES}{random}/"


def clock_probe(random: str) -> str:
    """An empty object whose age shows the store's own time."""
    return f"{PROBES}{random}"


def may_be_large(key: str) -> bool:
    """Whether what lies there may take long to move: blobs, checkpoints, engines, models. Of a prefix, too."""
    parts = key.split("/")
    return parts[0] in ("engines", "models") or (parts[0] == "t" and parts[2:3] in (["blobs"], ["checkpoints"]))


def is_pulse(key: str) -> bool:
    """Whether it is written so that somebody lives on. (What is being deleted is read by all who write a manifest.)"""
    return key.startswith((LEASES, "runtime/")) and key != SWEEP


# ── reading ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def is_ours(key: str) -> bool:
    """Whether a function above makes such keys (`runtime` left out, which nobody lists), or it is of engines or models.

    What is there besides was left by people and their programs: a folder's marker, a file of their browser's.
    """
    return _OURS.fullmatch(key) is not None or (key.startswith(ACTIVE) and read_active(key) is not None)


def name_of(key: str) -> str:
    """Its last part: an id or a digest, in most kinds."""
    return key.rpartition("/")[2]


def id_in(by_time_name: str) -> str:
    """The id in the last part of `job_by_time` or `file_by_time`."""
    return by_time_name.partition("-")[2]


def tenant_of(key: str) -> str | None:
    """Whose it is; None for what belongs to the installation."""
    parts = key.split("/")
    return parts[1] if parts[0] == "t" else None


def is_tenant(name: str) -> bool:
    """Whether a tenant may have this name."""
    return re.fullmatch(_NAME, name) is not None


def kind_of(key: str) -> str:
    """Of one tenant's key: its folder (`jobs`, `blobs`, …)."""
    return key.split("/")[2]


def job_of_checkpoint(key: str) -> str:
    """The job whose checkpoint it is."""
    return key.split("/")[3]


def digest_of_checkpoint(key: str) -> str:
    """The digest that a checkpoint's bytes must have."""
    return key.rpartition("-")[2]


def kind_of_cached(key: str) -> str:
    """What was computed: `text`, `first-frame`, `reference`, …"""
    return key.split("/")[3]


def job_of_lease(key: str) -> str:
    """The job on whose attempt somebody works."""
    return key.split("/")[1]
