"""How often a tenant may ask for videos: a bucket of tokens per tenant. Pure but for the clock that is handed in.

`gate.py` takes a token for every create. A bucket holds a minute's worth, so a tenant that was quiet may send that many
at once. Each front-door process has buckets of its own: behind a load balancer with n front doors a tenant may get up
to n times its rate. Exact bounds are those of the queue (`bounds.py`), which all of them share.
"""

from __future__ import annotations

from collections.abc import Callable

from serving.errors import ResourceExhausted
from serving.frontdoor.admission.bounds import in_words

FORGET_ABOVE = 1024
"""Buckets are looked through when there are so many, and again at twice as many as were left."""


class RateLimit:
    """All buckets of one process. Full buckets are forgotten, so memory is that of the tenants of the last minute."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """`clock` is monotonic, in seconds."""
        self._clock = clock
        self._full_at: dict[str, float] = {}
        """When each bucket is full again. A token moves that on by the time in which a token is made."""
        self._forget_above = FORGET_ABOVE

    def take(self, tenant: str, per_minute: float | None) -> None:
        """Take a token. Raises `ResourceExhausted`, saying when the next one is there. None: no bound."""
        if per_minute is None:
            return
        now, each = self._clock(), 60 / per_minute
        full_at = max(self._full_at.get(tenant, now), now) + each
        wait = full_at - now - max(60.0, each)
        if wait > 1e-9:  # what is left of subtracting floats is no reason to wait
            raise ResourceExhausted(
                f"you may ask for {per_minute:g} videos a minute (setting `admission.creates_per_minute`); the next "
                f"one will be taken in {in_words(wait)}",
                retry_after_s=wait,
                reason="RATE_LIMITED",
            )
        self._full_at[tenant] = full_at
        if len(self._full_at) > self._forget_above:
            self._full_at = {name: at for name, at in self._full_at.items() if at > now}
            self._forget_above = max(FORGET_ABOVE, 2 * len(self._full_at))
