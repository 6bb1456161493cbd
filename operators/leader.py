"""One operator works, others wait: a Lease, held by whoever renews it. `__main__` takes it before anything else."""

from __future__ import annotations

import os
import threading

from kubernetes.leaderelection.electionconfig import Config
from kubernetes.leaderelection.leaderelection import LeaderElection
from kubernetes.leaderelection.resourcelock.leaselock import LeaseLock

NAME = "longtake-operator"
_LEASE_S, _RENEW_S, _RETRY_S = 15, 10, 2


def lead(namespace: str, identity: str) -> None:
    """Return when this process leads. It ends, at once and whole, when it leads no more: another one works then."""
    leading = threading.Event()

    def elect() -> None:
        lock = LeaseLock(NAME, namespace, identity)
        config = Config(
            lock,
            lease_duration=_LEASE_S,
            renew_deadline=_RENEW_S,
            retry_period=_RETRY_S,
            onstarted_leading=leading.set,
            onstopped_leading=lambda: os._exit(1),
        )
        LeaderElection(config).run()
        os._exit(1)

    threading.Thread(target=elect, name="leader", daemon=True).start()
    leading.wait()
