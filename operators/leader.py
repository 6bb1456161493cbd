"""One operator works, others wait: a Lease, held by whoever renews it. `__main__` takes it before anything else."""

from __future__ import annotations

import os
import threading
from typing import Any, cast

from kubernetes import client
from kubernetes.leaderelection.electionconfig import Config
from kubernetes.leaderelection.leaderelection import LeaderElection
from kubernetes.leaderelection.resourcelock.leaselock import LeaseLock

_LEASE_S, _RENEW_S, _RETRY_S = 15, 10, 2
_CALL_S = 5
"""A call about the Lease may take so long: less than the Lease lives on."""


def lead(name: str, namespace: str, identity: str) -> None:
    """Return when this process leads. It ends, at once and whole, when it leads no more: another one works then.

    It also ends when the API server cannot be asked for the Lease at all, and is started again.
    """
    leading = threading.Event()

    def elect() -> None:
        try:
            LeaderElection(
                Config(
                    _Lock(name, namespace, identity),
                    lease_duration=_LEASE_S,
                    renew_deadline=_RENEW_S,
                    retry_period=_RETRY_S,
                    onstarted_leading=leading.set,
                    onstopped_leading=lambda: os._exit(1),
                )
            ).run()
        finally:
            os._exit(1)

    threading.Thread(target=elect, name="leader", daemon=True).start()
    leading.wait()


class _Lock(LeaseLock):
    """A Lease whose calls end."""

    def __init__(self, name: str, namespace: str, identity: str) -> None:
        super().__init__(name, namespace, identity)
        self.api_instance = cast(client.CoordinationV1Api, _Brief(self.api_instance))


class _Brief:
    """Calls to the API server that wait for `_CALL_S` at most."""

    def __init__(self, api: client.CoordinationV1Api) -> None:
        self._api = api

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._api, name)
        return lambda *arguments, **named: call(*arguments, _request_timeout=_CALL_S, **named)
