"""The collector: what nobody needs any more is deleted. `longtake gc` runs it, and a process beside the Director
(`__main__.py`).

    expire → mark → sweep, tenant by tenant

It marks from the roots (records of jobs that are not deleted, files, caches) and spares whatever is younger than the
margin. Jobs are created, extended and finished meanwhile, and nobody waits for it. Why nothing that is needed goes:

**One moment counts.** Every age is compared with the moment before anything was read, by the store's own clock. However
long a collection takes, what was written or touched since that moment, less the margin, stays.

**No clock is believed alone.** Ages are the store's, and times to live ours. When the two differ by more than the
margin, or ours was set while the collector ran (`clocks.py`), nothing is collected, and that is said: what goes by its
age does not come back.

**A reference is made to what is living.** An extension names the segment of a video that it has just read. Should the
video be deleted in that instant, its tombstone is young, and a tombstone younger than the margin is still a root: the
new job's record is durable long before (a call to the front door is shorter than the margin), and the next collection
sees it. The same holds for files, and for everything that is being played while it is deleted.

**A running attempt is not outrun.** What an attempt has written and not yet published is named by nothing. So in a
tenant with unfinished jobs, segments and blobs count as old only when they were last touched a margin before the first
of these jobs was started: an attempt may take days. What it took from a cache is not younger; but before the entry of a
cache goes, all that it leads to is touched, so whoever found it there a moment ago has the same time.

**Old garbage may come to life.** The same bytes may be written again (the header of a track, a picture that is uploaded
once more, a video made again with its seed). Whoever finds a blob there touches it, and looks for a sweep that is going
on (`store/sweeping.py`): either the sweep finds it young, or the writer finds that it went, and puts it again. A delete
of the sweep's has an end that the store keeps, so one that is held up does not come after that.

**A parent lives as long as its children.** Paths are marked up to their roots, whatever became of the parents' records.
A tombstone stays while a living video descends from its segments.

**A deleted key stays unwritten.** Ids are random, and a deleted one never comes again, except those made of an
idempotency key or of a dead letter: a create sent again after its tombstone is gone would make the video anew. So such
tombstones, and index keys that such a create would use, stay for a week, which is how long an idempotency key is good
after its video was deleted. Blobs are written again, hence the announcements; entries of caches are hints and may be
lost at any time.

**Engines belong to no tenant.** Their bytes go when no manifest of engines in the store names them and a day has passed
since a builder last put or found them; so do files of models that were added, by their records, and what says who
builds a set, a day after he last said so (`engine_blobs.py`).

Two collectors may run at once: each is right by itself. One that is interrupted leaves garbage, never a hole: names go
before what they name. A record that cannot be read might need anything, so its whole tenant is left alone and told of;
the others are collected. A key that nobody of us made (a file of a browser's, a folder's marker) leads nowhere: it is
left alone and told of.

**What is remembered cannot have changed.** What an earlier collection found of a manifest, a page or an old record is
not read again; `mark.py` says why that is the same as reading it. Memory holds 64 bits for each living key of one
tenant, and some 140 bytes of each of its manifests, pages and old records: what is remembered of them. For a tenant of
a million videos of one segment that is 0.3 GB, and not much more in the collection that reads them for the first time.
A directory's listing holds the names of a folder beside that, some 130 bytes each: of their blobs 0.4 GB.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Callable

from serving.errors import LongtakeError
from serving.logs import logger
from serving.metrics import COLLECTED_BYTES, COLLECTED_KEYS, Recorder, Unrecorded
from serving.retention.clocks import agreed
from serving.retention.context import Collection
from serving.retention.mark import Mark
from serving.retention.report import Damage, Report
from serving.retention.sweep import Sweep
from serving.settings import Retention
from serving.store import keys
from serving.store.base import Store

_log = logger("collector")


def _unheard(_: str, __: int) -> None:
    """Nobody watches."""


async def collect_once(
    store: Store,
    retention: Retention,
    *,
    now_ms: Callable[[], int],
    metrics: Recorder | None = None,
    dry_run: bool = False,
    on_progress: Callable[[str, int], None] = _unheard,
) -> Report:
    """Expire, mark and sweep once. With `dry_run` nothing is written, and the report tells what would have gone.

    `now_ms` decides whose time to live is over. Raises `Unavailable` when the store goes away; call it again later.
    Raises `FailedPrecondition` when the clocks are not to be believed: it and the store's differ by more than the
    margin, or `now_ms` says so.
    """
    snapshot = now_ms() if dry_run else await _now_of(store, now_ms)
    agreed(now_ms(), snapshot, allowed_s=retention.margin_s)
    report = Report(snapshot, dry_run)
    collection = Collection(store, retention, now_ms, report, on_progress)
    sweep = Sweep(collection)
    async for tenant in tenants(store):
        await _collect_tenant(collection, sweep, tenant)
    await sweep.installation()
    if not dry_run:
        _record(report, metrics or Unrecorded())
    return report


async def _collect_tenant(collection: Collection, sweep: Sweep, tenant: str) -> None:
    """What one tenant has. Whatever is wrong there must not keep the others' garbage for ever."""
    mark = Mark(collection, tenant)
    try:
        await mark.run()
        if not mark.damaged:
            await sweep.tenant(mark)
    except LongtakeError:  # the store is away, or a clock is wrong: all others would meet it too
        raise
    except Exception as error:  # noqa: BLE001  (whatever it is, it is this tenant's alone)
        _log.error("a tenant cannot be collected", tenant=tenant, error=repr(_first(error)))
        found = Damage(tenant, f"{keys.TENANTS}{tenant}/", repr(_first(error)))
        collection.report.damage(found, first=not mark.damaged)


def _first(error: Exception) -> Exception:
    """Of several that failed together, one."""
    return _first(error.exceptions[0]) if isinstance(error, ExceptionGroup) else error


async def tenants(store: Store) -> AsyncIterator[str]:
    """Every tenant that has a key; a few listings of one key for each.

    Some servers walk folder by folder, and have `acme` before `acme-2`; by the bytes of their keys it is behind. So
    those whose names begin with another's are looked for by that, and the order of a listing does not matter.
    """
    seen: set[str] = set()
    prefixes = [keys.TENANTS]
    while prefixes:
        prefix, after = prefixes.pop(), ""
        met: set[str] = set()
        while (tenant := await _first_tenant(store, prefix, after)) is not None and tenant not in met:
            met.add(tenant)
            after = keys.behind(tenant)
            if tenant not in seen and keys.is_tenant(tenant):
                seen.add(tenant)
                prefixes += keys.tenants_like(tenant)
                yield tenant


async def _first_tenant(store: Store, prefix: str, after: str) -> str | None:
    async for entry in store.list(prefix, after=after, limit=1):
        return keys.tenant_of(entry.key)
    return None


async def _now_of(store: Store, now_ms: Callable[[], int]) -> int:
    """What time it is by the store's clock; by ours if it does not tell."""
    key = keys.clock_probe(secrets.token_hex(8))
    await store.put_if_absent(key, b"")
    try:
        async for entry in store.list(key, limit=1):
            if entry.modified_ms is not None:
                return entry.modified_ms
    finally:
        await store.delete(key)
    return now_ms()


def _record(report: Report, metrics: Recorder) -> None:
    for kind, counts in report.kinds.items():
        if counts.collected.keys:
            label = kind.replace(" ", "_")
            metrics.add(COLLECTED_KEYS, counts.collected.keys, kind=label)
            metrics.add(COLLECTED_BYTES, counts.collected.bytes, kind=label)
