"""Deployments that Serve has given up, and when to deploy the application anew for them. `host.py` asks.

Serve counts the replicas that fail to start: while it replaces old ones, and as long as none has been up since its
controller started. After three it gives the deployment up. Those that are up go on, but when the last one dies nobody
comes in its place, though whatever was wrong may be right by then. Only another deploy makes Serve try again.
"""

from __future__ import annotations

from collections.abc import Iterator

from ray.serve.schema import ApplicationStatusOverview, DeploymentStatusOverview

LOOK_EVERY_S = 5.0
FIRST_PAUSE_S, LONGEST_PAUSE_S = 10.0, 300.0
"""Between two deploys: each replaces the replicas of all stages."""
_GONE = ("STOPPING", "STOPPED")


class GivenUp:
    """Of one application."""

    def __init__(self) -> None:
        self._seen: frozenset[str] = frozenset()
        self._pause_s = FIRST_PAUSE_S
        self._not_before = float("-inf")

    def due(self, application: ApplicationStatusOverview, now: float) -> list[str]:
        """The deployments for which it is to be deployed anew, now; seen twice in a row, for a moment without is usual.

        `now`: monotonic seconds.
        """
        seen, self._seen = self._seen, frozenset(_without_replica(application))
        if application.status == "RUNNING":
            self._pause_s = FIRST_PAUSE_S
        found = sorted(seen & self._seen)
        if not found or now < self._not_before:
            return []
        self._seen = frozenset()
        self._not_before = now + self._pause_s
        self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)
        return found


def _without_replica(application: ApplicationStatusOverview) -> Iterator[str]:
    for name, deployment in application.deployments.items():
        if deployment.status != "HEALTHY" and not _replicas(deployment):  # one that is scaled to none is healthy
            yield name


def _replicas(deployment: DeploymentStatusOverview) -> int:
    """Those that are up, or on their way."""
    return sum(count for state, count in deployment.replica_states.items() if state not in _GONE)
