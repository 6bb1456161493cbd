"""When Ray is asked again for what it has given up. `change.py` asks at each look.

Ray starts a stage's replica three times and no more, though what it lacked may be there by then: a model in the store,
a machine's driver. Another `generation` of an application has it deployed anew, and replaces the replicas that it has.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from datetime import datetime, timedelta
from math import inf

from operators.api.rollout import Redeploys
from operators.policies.state import moment

PAUSE = timedelta(seconds=300)
"""Before each time. A change that can be taken back is, before that."""
LEAST_S = 10.0
"""Between looks: of what is over by then."""


def look_again_s(redeploys: Redeploys, now: datetime) -> float:
    """Seconds until something is deployed anew, if it stays given up."""
    if not redeploys.since:
        return inf
    return max((datetime.fromisoformat(redeploys.since) + PAUSE - now).total_seconds(), LEAST_S)


def redeployed(before: Redeploys, given_up: AbstractSet[str], now: datetime) -> Redeploys:
    """What is to be deployed from now on, where these are given up."""
    if not given_up:
        return before.model_copy(update={"since": ""})
    if not before.since:
        return before.model_copy(update={"since": moment(now)})
    if now - datetime.fromisoformat(before.since) < PAUSE:
        return before
    again = {name: before.generations.get(name, 0) + 1 for name in sorted(given_up)}
    return Redeploys(generations={**before.generations, **again}, since=moment(now))
