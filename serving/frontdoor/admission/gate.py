"""Whether one more job may queue: bounds, rate, backlog and forecast behind one door. `create/create.py` asks it.

The rules are in `bounds.py` and pure; this is what hands them the settings, the counts and the predicted times.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from serving.frontdoor.admission.backlog import Backlog
from serving.frontdoor.admission.bounds import Limits, admit, check_deadline, check_priority
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
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`clock` is monotonic, in seconds."""
        self._admission = admission
        self._backlog = backlog
        self._forecast = forecast
        self._rate = RateLimit(clock)

    def take_token(self, tenant: str) -> None:
        """Raises `ResourceExhausted` for a tenant that asks too often."""
        self._rate.take(tenant, limits_of(self._admission, tenant).creates_per_minute)

    async def predict(self, tenant: str, plan: Plan, *, priority: int, deadline_ms: int | None) -> Prediction:
        """When a job with this plan would start and end, if it were made now."""
        return await self._forecast.of(plan, tenant=tenant, priority=priority, deadline_ms=deadline_ms)

    async def admit(self, wanted: JobRecord, *, priority_field: str, deadline_field: str) -> None:
        """Raises `PermissionDenied`, `ResourceExhausted` or `FailedPrecondition`, saying when to come back.

        The two fields are what the caller calls them. `wanted` carries its prediction.
        """
        predicted = _prediction(wanted)
        limits = limits_of(self._admission, wanted.tenant)
        check_priority(limits, wanted.priority, priority_field)
        admit(limits, await self._forecast.occupancy(wanted.tenant, predicted.seconds[DENOISER]))
        work_s = alone_s(predicted, wanted.plan)
        check_deadline(wanted.deadline_ms, predicted, work_s, wanted.created_ms, deadline_field)

    def accepted(self, record: JobRecord) -> None:
        """One more job waits: count it until the store is listed again."""
        self._backlog.accepted(
            record.tenant,
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
    )


def _prediction(record: JobRecord) -> Prediction:
    assert record.predicted is not None, "a create predicts before it asks"
    return record.predicted
