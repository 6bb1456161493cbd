"""What Serve's errors mean to the Director: a stage that is away, or a worker that died. `handles.py` asks.

    the stage raised something of ours                                → that
    the replica that ran the call died, or was killed for its memory  → StageLost, of its stage
    no replica ever took the call: none is up, its queue is full      → StageAway
    the call, its answer or what it was given was lost on the way     → StageAway, may_have_begun
    the replica's machine was taken away                              → StageAway, may_have_begun
    anything else                                                     → itself: a fault of ours

Serve sends a call to another replica by itself when one was dead before it took it. So a dead actor that is told of had
taken the call. A reference that is handed on brings the error of the stage that made it: then Ray names its actor, and
the stage is read from that name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from ray.exceptions import (
    ActorDiedError,
    ActorUnavailableError,
    LocalRayletDiedError,
    NodeDiedError,
    ObjectLostError,
    OutOfMemoryError,
    RayActorError,
    RayError,
    RayTaskError,
    TaskCancelledError,
    WorkerCrashedError,
)
from ray.serve.exceptions import BackPressureError, RayServeException

from serving.errors import LongtakeError
from serving.stage_names import STAGES, StageName
from serving.stages.contracts import AwayCause, StageAway, StageLost

_DIED = (ActorDiedError, WorkerCrashedError, OutOfMemoryError)
_ON_THE_WAY = (
    ActorUnavailableError,
    LocalRayletDiedError,
    NodeDiedError,
    ObjectLostError,
    RayActorError,
    TaskCancelledError,
)
_NAMED = re.compile(r"ServeReplica:[^:\s]*:(\w+)|Deployment\(name='(\w+)'")
"""How Ray calls a replica's actor, and how Serve calls a deployment."""
_ACTOR = re.compile(r"actor_id: (\w+)")
"""Ray's number of the actor that died, as the error's text has it."""
_NEVER_RAN = "never ran"


def told(error: BaseException, called: StageName) -> BaseException:
    """What an error of a call to the stage `called` is; see the module."""
    for inner in _through_wrappings(error):
        if isinstance(inner, LongtakeError):
            return inner
        if isinstance(inner, _DIED) or _is_told_of_death(inner):
            return _dead(inner, called)
        if isinstance(inner, BackPressureError):
            return _away(inner, called, "full")
        if isinstance(inner, _ON_THE_WAY):
            return _away(inner, called, "unreachable", may_have_begun=True)
        if isinstance(inner, RayServeException) and inner.__cause__ is None:
            return _away(inner, called, "no_replica")
    return error


def _through_wrappings(error: BaseException) -> Iterator[BaseException]:
    """The error inside, through as many stages as a reference carried it."""
    inner: BaseException | None = error
    while inner is not None:
        if not isinstance(inner, RayTaskError):
            yield inner
        inner = inner.cause if isinstance(inner, RayTaskError) else inner.__cause__


def _is_told_of_death(error: BaseException) -> bool:
    """Ray cannot pickle an `ActorDiedError` that a reference brings to a stage, and puts its text into this instead."""
    return type(error) is RayError and ActorDiedError.__name__ in str(error)


def _dead(error: BaseException, called: StageName) -> LongtakeError:
    if not isinstance(error, ActorDiedError):
        return _lost(error, called)
    if error.actor_init_failed or _NEVER_RAN in str(error):
        return _away(error, called, "no_replica")
    if error.preempted:
        return _away(error, called, "unreachable", may_have_begun=True)
    return _lost(error, called)


def _lost(error: BaseException, called: StageName) -> StageLost:
    died = _ACTOR.search(_text(error))
    return StageLost(
        f"its worker died ({_line(error)})", stage=_stage_in(error) or called, died=died[1] if died else ""
    )


def _away(error: BaseException, called: StageName, cause: AwayCause, *, may_have_begun: bool = False) -> StageAway:
    stage = _stage_in(error) or called
    return StageAway(_line(error), cause=cause, stage=stage, may_have_begun=may_have_begun)


def _stage_in(error: BaseException) -> StageName | None:
    found = _NAMED.search(_text(error))
    name = (found[1] or found[2]) if found else None
    return next((stage for stage in STAGES if stage == name), None)


def _line(error: BaseException) -> str:
    return f"{type(error).__name__}: {_text(error).strip().partition(chr(10))[0]}"


def _text(error: BaseException) -> str:
    """Some of Serve's errors keep their sentence in `message`."""
    return str(getattr(error, "message", "") or error)
