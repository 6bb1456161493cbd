"""When Ray is asked again for what it has given up. `change.py` asks at each look.

Ray starts a stage's replica three times and no more, though what it lacked may be there by then: a model in the store,
a machine's driver. Another `generation` of an application has it deployed anew, and replaces the replicas that it has.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from datetime import datetime, timedelta

from operators.api.rollout import Redeploys
from operators.policies.state import moment

PAUSE = timedelta(seconds=300)
"""Before each time. A change that can be taken back is, before that."""


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
