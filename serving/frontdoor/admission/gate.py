"""Whether one more job may queue: bounds, rate, backlog and forecast behind one door. `create/create.py` asks it.

The rules are in `bounds.py` and pure; this is what hands them the settings, the counts and the predicted times.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

from serving.errors import ResourceExhausted
from serving.files.quota import Quota
from serving.frontdoor.admission.backlog import ALL, Backlog
from serving.frontdoor.admission.bounds import Limits, Occupancy, admit, check_deadline, check_priority
from serving.frontdoor.admission.forecast import Forecast, alone_s
from serving.frontdoor.admission.rate import RateLimit
from serving.jobs.history import Prediction
from serving.jobs.record import JobRecord
from serving.plan import Plan
from serving.settings import Admission, TenantAdmission
from serving.stage_names import DENOISER


class Gate:
    """One per front-door process."""

    def __init__(
        self,
        admission: Admission,
        *,
        backlog: Backlog,
        forecast: Forecast,
        quota: Quota,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`clock` is monotonic, in seconds."""
        self._admission = admission
        self._backlog = backlog
        self._forecast = forecast
        self._quota = quota
        self._rate = RateLimit(clock)
        self._again = RateLimit(clock)

    def take_token(self, tenant: str) -> None:
        """Raises `ResourceExhausted` for a tenant that asks too often."""
        self._rate.take(tenant, limits_of(self._admission, tenant).creates_per_minute)

    def take_token_again(self, tenant: str) -> None:
        """As `take_token`, for a create that says it was sent before. To find out whether it was costs as much, so
        there are as many tokens for that, and they are others.
        """
        self._again.take(tenant, limits_of(self._admission, tenant).creates_per_minute)

    async def check_room(self, tenant: str) -> None:
        """Raises `ResourceExhausted` for a tenant that has all that it may store."""
        await self._quota.check(tenant)

    async def predict(self, tenant: str, plan: Plan, *, priority: int, deadline_ms: int | None) -> Prediction:
        """When a job with this plan would start and end, if it were made now."""
        return await self._forecast.of(plan, tenant=tenant, priority=priority, deadline_ms=deadline_ms)

    @asynccontextmanager
    async def admitted(self, wanted: JobRecord, *, priority_field: str, deadline_field: str) -> AsyncIterator[None]:
        """The job may be written within the block, and has its place meanwhile. Raises `PermissionDenied`,
        `ResourceExhausted` or `FailedPrecondition`, saying when to come back.

        The two fields are what the caller calls them. `wanted` carries its prediction.
        """
        predicted = _prediction(wanted)
        limits = limits_of(self._admission, wanted.tenant)
        check_priority(limits, wanted.priority, priority_field)
        work_s = alone_s(predicted, wanted.plan)
        check_deadline(wanted.deadline_ms, predicted, work_s, wanted.created_ms, deadline_field)
        await self.check_room(wanted.tenant)
        full = await self._forecast.occupancy(wanted.tenant, wanted.plan.model, predicted.seconds[DENOISER])
        # From here to the place that it takes nobody else is asked, so a burst of creates cannot pass by together.
        self._admit(limits, full, wanted)
        with self._backlog.coming(wanted.tenant):
            yield

    def _admit(self, limits: Limits, full: Occupancy, wanted: JobRecord) -> None:
        # A create that is sent again after its front door died has a place already: it is not in its own way.
        own = bool(wanted.idempotency_key) and self._backlog.has(wanted.tenant, wanted.id)
        active, all_active = self._backlog.held(wanted.tenant) - own, self._backlog.all_held() - own
        try:
            admit(limits, replace(full, active=active, all_active=all_active))
        except ResourceExhausted:
            self._backlog.refused(wanted.tenant if active >= limits.max_active_jobs else ALL)
            raise

    def accepted(self, record: JobRecord) -> None:
        """One more job waits: count it until the store is listed again."""
        self._backlog.accepted(
            record.tenant,
            model=record.plan.model,
            job=record.id,
            priority=record.priority,
            deadline_ms=record.deadline_ms,
            work_s=_prediction(record).seconds[DENOISER],
        )


def limits_of(admission: Admission, tenant: str) -> Limits:
    """What this tenant may have, as the settings say: its own bounds where it has some, else those of all."""
    own = admission.tenants.get(tenant) or TenantAdmission()
    return Limits(
        tenant=tenant,
        max_active_jobs=own.max_active_jobs or admission.max_active_jobs,
        max_all_jobs=admission.max_all_jobs,
        most_urgent=admission.most_urgent if own.most_urgent is None else own.most_urgent,
        creates_per_minute=own.creates_per_minute or admission.creates_per_minute,
        max_stored_bytes=own.max_stored_bytes or admission.max_stored_bytes,
    )


def _prediction(record: JobRecord) -> Prediction:
    assert record.predicted is not None, "a create predicts before it asks"
    return record.predicted
