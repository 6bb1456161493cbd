"""Videos and files whose time is over become tombstones, exactly as when their owner deletes them.

What they hold goes later, when the tombstone is older than the margin and no living video descends from it (`mark.py`).
"""

from __future__ import annotations

import secrets

from pydantic import ValidationError

from serving.errors import Conflict, NotFound
from serving.files.record import FileRecord
from serving.jobs.ids import derived_id
from serving.jobs.record import JobRecord, JobState
from serving.jobs.repository import Jobs
from serving.retention.context import Collection
from serving.retention.known import Reach
from serving.settings import Retention
from serving.store import keys


def past_its_time(record: JobRecord, retention: Retention, now_ms: int) -> bool:
    """Whether the video's own end, or the end that the settings give it, is past. A job must have ended first."""
    if not record.state.terminal or record.state is JobState.DELETED:
        return False
    return _is_over(record.finished_ms or record.created_ms, record.expires_ms, record.tenant, retention, now_ms)


def is_past(reach: Reach, tenant: str, retention: Retention, now_ms: int) -> bool:
    """The same of a job or file of which no more is known than this."""
    return _is_over(reach.finished_ms or None, reach.expires_ms or None, tenant, retention, now_ms)


def _is_over(finished_ms: int | None, expires_ms: int | None, tenant: str, retention: Retention, now_ms: int) -> bool:
    ttl_s = retention.tenants.get(tenant, retention.video_ttl_s)
    ends = (expires_ms, None if ttl_s is None or finished_ms is None else finished_ms + ttl_s * 1000)
    return any(end is not None and end <= now_ms for end in ends)


async def expire_video(collection: Collection, record: JobRecord) -> bool:
    """Delete the video if its time is over. A file that stands for it prolongs its life: its bytes are the video's."""
    if not past_its_time(record, collection.retention, collection.now_ms()) or await _is_kept(collection, record):
        return False
    collection.report.expired_videos += 1
    if not collection.dry_run:
        try:
            await Jobs(collection.store).delete(record)
        except (Conflict, NotFound):  # its owner was faster
            collection.report.expired_videos -= 1
            return False
    return True


async def expire_file(collection: Collection, record: FileRecord, version: str) -> bool:
    """Delete the file if its time is over."""
    if record.deleted or record.expires_ms is None or record.expires_ms > collection.now_ms():
        return False
    collection.report.expired_files += 1
    if not collection.dry_run:
        changes = {"deleted": True, "public": None, "version": record.version + 1, "nonce": secrets.token_hex(8)}
        tombstone = record.model_copy(update=changes).model_dump_json().encode()
        try:
            await collection.store.swap(keys.file(record.tenant, record.id), tombstone, version)
        except (Conflict, NotFound):
            collection.report.expired_files -= 1
            return False
    return True


async def _is_kept(collection: Collection, record: JobRecord) -> bool:
    key = keys.file(record.tenant, derived_id("file_", record.tenant, record.id))
    try:
        file = FileRecord.model_validate_json((await collection.store.get(key)).data)
    except NotFound:
        return False
    except ValidationError:  # it may prolong it
        return True
    if any(file.unknown()):
        return True
    return not file.deleted and (file.expires_ms is None or file.expires_ms > collection.now_ms())
