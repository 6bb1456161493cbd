"""The newest finished videos made again, one after the other: does this version make what was made before it?

`longtake reproduce --newest` asks, and so does the operator before a new version takes traffic. A video of other
engines says nothing about this version, for only the same ones give the same bytes: it is passed over, with the reason.
"""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

from engines.session import Session
from serving.errors import FailedPrecondition, NotFound
from serving.jobs.record import JobRecord, JobState
from serving.jobs.repository import Jobs
from serving.reproduction.reproduce import OTHER_ENGINES, Compared, reproduce
from serving.retention.collect import tenants
from serving.store.base import Store

_LOOKED_AT = 500
"""Of each tenant's newest jobs, so many are looked at: there may be none but failed ones."""


@dataclass(frozen=True)
class Replayed:
    """One video."""

    tenant: str
    video: str
    compared: tuple[Compared, ...] = ()
    """All its digests; none where it was passed over."""
    passed_over: str = ""
    """Why."""


async def newest(store: Store, count: int, tenant: str | None) -> list[JobRecord]:
    """The newest finished videos and images, of one tenant or of all, newest first."""
    whose = [tenant] if tenant else [found async for found in tenants(store)]
    jobs = Jobs(store)
    found = [record for one in whose for record in await _newest_of(jobs, one, count)]
    return sorted(found, key=lambda record: record.created_ms, reverse=True)[:count]


async def replay(
    store: Store, records: list[JobRecord], engines_of: Callable[[JobRecord, Store], Awaitable[Session]]
) -> AsyncIterator[Replayed]:
    """All of them, model by model, so that one model's engines are loaded at a time, and once.

    Raises `FailedPrecondition` where one cannot be made again by the very engines that made it.
    """
    for _, same in itertools.groupby(sorted(records, key=lambda one: one.plan.model), lambda one: one.plan.model):
        ours = list(same)
        try:
            session = await engines_of(ours[0], store)
        except FailedPrecondition as error:
            for record in ours:
                yield Replayed(record.tenant, record.id, passed_over=error.message)
            continue
        with session:
            for record in ours:
                yield await _replayed(store, record, session)


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


async def _replayed(store: Store, record: JobRecord, session: Session) -> Replayed:
    try:
        compared = await reproduce(store, record.tenant, record.id, session)
    except NotFound:
        return Replayed(record.tenant, record.id, passed_over=f"{record.id} was deleted meanwhile")
    except FailedPrecondition as error:
        if error.reason != OTHER_ENGINES:
            raise
        return Replayed(record.tenant, record.id, passed_over=error.message)
    return Replayed(record.tenant, record.id, tuple(compared))
