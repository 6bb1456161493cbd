"""The newest finished videos made again, one after the other: does this version make what was made before it?

`longtake reproduce --newest` asks, and so does the operator before a new version takes traffic. A video of a model that
this version does not serve says nothing about it, and is passed over with the reason. What cannot be made again though
it is served says nothing either, and is no good sign: it could not be judged.
"""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Container
from dataclasses import dataclass

from serving.errors import Corrupt, FailedPrecondition, NotFound
from serving.jobs.record import JobRecord, JobState
from serving.jobs.repository import Jobs
from serving.reproduction.judge import OTHER_WEIGHTS, Engines, Judged, judged
from serving.retention.collect import tenants
from serving.store.base import Store

_LOOKED_AT = 500
"""Of each tenant's newest jobs, so many are looked at: there may be none but failed ones."""


@dataclass(frozen=True)
class Replayed:
    """One video."""

    tenant: str
    video: str
    judged: Judged | None = None
    """What came of it; None where nothing did."""
    passed_over: str = ""
    """Why it says nothing of this version."""
    unjudged: str = ""
    """Why it could not be made again, though this version is to make such videos."""


async def newest(store: Store, count: int, tenant: str | None) -> list[JobRecord]:
    """The newest finished videos and images, of one tenant or of all, newest first."""
    whose = [tenant] if tenant else [found async for found in tenants(store)]
    jobs = Jobs(store)
    found = [record for one in whose for record in await _newest_of(jobs, one, count)]
    return sorted(found, key=lambda record: record.created_ms, reverse=True)[:count]


async def replay(
    store: Store,
    records: list[JobRecord],
    engines_of: Callable[[JobRecord, Store], Awaitable[Engines]],
    served: Container[str],
) -> AsyncIterator[Replayed]:
    """All of them, model by model, so that one model's engines are loaded at a time, and once. Of models that are not
    `served`, those whose engines happen to be here."""
    for _, same in itertools.groupby(sorted(records, key=lambda one: one.plan.model), lambda one: one.plan.model):
        ours = list(same)
        try:
            engines = await engines_of(ours[0], store)
        except FailedPrecondition as error:
            for record in ours:
                yield _not_judged(record, error, over=record.plan.model not in served)
            continue
        with engines.session:
            for record in ours:
                yield await _replayed(store, record, engines)


async def _newest_of(jobs: Jobs, tenant: str, count: int) -> list[JobRecord]:
    found: list[JobRecord] = []
    looked_at, token = 0, ""
    while len(found) < count and looked_at < _LOOKED_AT:
        page = await jobs.list(tenant, limit=min(count, _LOOKED_AT), token=token)
        found += [record for record in page.records if record.state is JobState.SUCCEEDED]
        looked_at, token = looked_at + len(page.records), page.next_token
        if not token:
            break
    return found[:count]


async def _replayed(store: Store, record: JobRecord, engines: Engines) -> Replayed:
    try:
        return Replayed(record.tenant, record.id, await judged(store, record, engines))
    except NotFound as error:
        if await _is_there(store, record):
            return Replayed(record.tenant, record.id, unjudged=error.message)
        return Replayed(record.tenant, record.id, passed_over=f"{record.id} was deleted meanwhile")
    except Corrupt as error:
        return Replayed(record.tenant, record.id, unjudged=error.message)
    except FailedPrecondition as error:
        return _not_judged(record, error, over=error.reason == OTHER_WEIGHTS)


async def _is_there(store: Store, record: JobRecord) -> bool:
    try:
        await Jobs(store).get(record.tenant, record.id)
    except NotFound:
        return False
    return True


def _not_judged(record: JobRecord, error: FailedPrecondition, *, over: bool) -> Replayed:
    """One that did not come out at all; `over`: which is as good, for it says nothing of this version."""
    if over:
        return Replayed(record.tenant, record.id, passed_over=error.message)
    return Replayed(record.tenant, record.id, unjudged=error.message)
