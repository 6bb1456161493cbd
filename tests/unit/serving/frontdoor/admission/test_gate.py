"""What a tenant may have, as the settings say."""

from __future__ import annotations

from serving.frontdoor.admission.bounds import Limits
from serving.frontdoor.admission.gate import limits_of
from serving.settings import Admission, TenantAdmission


def test_a_tenant_without_bounds_of_its_own_has_those_of_all() -> None:
    bounds = Admission(max_active_jobs=5, max_all_jobs=9, creates_per_minute=3, most_urgent=2)
    assert limits_of(bounds, "a") == Limits("a", 5, 9, most_urgent=2, creates_per_minute=3)


def test_a_tenants_own_bounds_come_first_and_the_rest_stays() -> None:
    own = {"studio": TenantAdmission(max_active_jobs=50, most_urgent=0)}
    bounds = Admission(max_active_jobs=5, creates_per_minute=3, most_urgent=2, tenants=own)
    assert limits_of(bounds, "studio") == Limits("studio", 50, 100_000, most_urgent=0, creates_per_minute=3)
    assert limits_of(bounds, "other").most_urgent == 2
