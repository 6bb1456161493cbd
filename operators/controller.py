"""Who looks at which service when: events wake, one worker looks at one service at a time, and bursts are one look.

kopf watches and writes nothing: an event of a service, or of anything that carries its label, puts its name into the
queue. Each service is looked at every ten minutes anyway.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Container, Iterable, Mapping
from typing import Any

import kopf

from operators.api import engine_build, video_model, video_service
from operators.api.base import GROUP, VERSION
from operators.apply import Known
from operators.children.names import BUILD, MODEL, SERVICE
from operators.metrics import RECONCILIATIONS, SECONDS

SETTLE_S = 0.5
"""Between an event and the look: what comes in a burst is seen at once. A list that looks share may be so old."""
LOOK_ANYWAY_S = 600.0
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 60.0
"""Before a look that failed is tried again; twice as long each time."""
WATCHED = (
    ("apps", "v1", "deployments"),
    ("ray.io", "v1", "rayservices"),
    ("", "v1", "services"),
    ("", "v1", "pods"),
    ("policy", "v1", "poddisruptionbudgets"),
    ("autoscaling", "v2", "horizontalpodautoscalers"),
    ("networking.k8s.io", "v1", "networkpolicies"),
    ("gateway.networking.k8s.io", "v1", "grpcroutes"),
    ("gateway.networking.k8s.io", "v1", "httproutes"),
)

WATCHED_BUILDS = (("batch", "v1", "jobs"),)
"""The same for builds. Their pods tell through the Job, and now and then."""

_OF_MODELS = ((GROUP, VERSION, engine_build.PLURAL),)
"""And for models. Those are watched as a whole, for themselves: no selector is set for them."""

Key = tuple[str, str]
_log = logging.getLogger("longtake.operator")


class _Failed(Exception):
    """A look came to no end."""


class Controller:
    """The queue of one kind, and a worker for each resource of it. `look` is called in a thread with namespace and
    name, and says in how many seconds it is to look again though nothing happens; None where there is no such one."""

    def __init__(self, look: Callable[[str, str, Known], float | None]) -> None:
        self._look = look
        self._dirty: dict[Key, asyncio.Event] = {}
        self._workers: set[asyncio.Task[None]] = set()

    def wake(self, namespace: str, name: str) -> None:
        """Something may have changed about this service."""
        key = namespace, name
        if key not in self._dirty:
            self._dirty[key] = asyncio.Event()
            worker = asyncio.create_task(self._work(key, self._dirty[key]), name=f"{namespace}/{name}")
            self._workers.add(worker)
            worker.add_done_callback(self._workers.discard)
        self._dirty[key].set()

    def waiting(self) -> int:
        """Services that something changed about and nobody has looked at yet."""
        return sum(event.is_set() for event in self._dirty.values())

    async def _work(self, key: Key, dirty: asyncio.Event) -> None:
        """Look at one service for as long as there is one."""
        known: Known = {}
        pause_s, again_s = FIRST_PAUSE_S, LOOK_ANYWAY_S
        there = True
        while there or dirty.is_set():
            try:
                await asyncio.wait_for(dirty.wait(), min(again_s, LOOK_ANYWAY_S))
                await asyncio.sleep(SETTLE_S)
            except TimeoutError:
                pass
            dirty.clear()
            try:
                found = await self._looked(key, known)
            except _Failed:
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
                dirty.set()
            else:
                pause_s = FIRST_PAUSE_S
                there, again_s = found is not None, found or LOOK_ANYWAY_S
        del self._dirty[key]

    async def _looked(self, key: Key, known: Known) -> float | None:
        """What the look says. Raises `_Failed` when it came to no end."""
        began = time.monotonic()
        try:
            again_s = await asyncio.to_thread(self._look, *key, known)
        except Exception as error:
            RECONCILIATIONS.labels(outcome="failed").inc()
            _log.exception("%s/%s: tried again (%s)", *key, type(error).__name__)
            raise _Failed from error  # whatever it is, it is this service's alone
        RECONCILIATIONS.labels(outcome="done").inc()
        SECONDS.observe(time.monotonic() - began)
        return again_s


def register(
    registry: kopf.OperatorRegistry,
    services: Controller,
    builds: Controller | None,
    models: Controller | None,
    *,
    unknown: Container[str],
) -> None:
    """Have kopf wake the controllers. `unknown`: API groups that the server does not know: they cannot be watched.
    Without a CRD there is no controller of its kind."""
    watched = tuple(kind for kind in WATCHED if kind[0] not in unknown)
    _register(registry, services, video_service.PLURAL, SERVICE, watched)
    if builds is not None:
        _register(registry, builds, engine_build.PLURAL, BUILD, WATCHED_BUILDS)
    if models is not None:
        _register(registry, models, video_model.PLURAL, MODEL, _OF_MODELS)


def _register(
    registry: kopf.OperatorRegistry,
    controller: Controller,
    plural: str,
    label: str,
    children: Iterable[tuple[str, ...]],
) -> None:
    async def resource(namespace: str | None, name: str, **_: Any) -> None:
        controller.wake(str(namespace), name)  # of one that is deleted, the look finds that

    async def child(namespace: str | None, labels: Mapping[str, str], **_: Any) -> None:
        controller.wake(str(namespace), labels[label])

    kopf.on.event(GROUP, VERSION, plural, registry=registry)(resource)
    for group, version, kind in children:
        kopf.on.event(group, version, kind, labels={label: kopf.PRESENT}, registry=registry)(child)
