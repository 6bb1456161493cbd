"""What errors of Serve's mean: of a stage that is away, of a worker that died, of ours."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from ray import ActorID
from ray.core.generated.common_pb2 import ActorDiedErrorContext, NodeDeathInfo  # type: ignore[attr-defined]
from ray.exceptions import (
    ActorDiedError,
    ActorUnavailableError,
    NodeDiedError,
    ObjectLostError,
    OutOfMemoryError,
    RayTaskError,
    TaskCancelledError,
    WorkerCrashedError,
)
from ray.serve._private.common import DeploymentID
from ray.serve.exceptions import (
    BackPressureError,
    DeploymentUnavailableError,
    RayServeException,
    ReplicaUnavailableError,
    RequestCancelledError,
)

from serving.deployments.outcomes import told
from serving.errors import InvalidArgument
from serving.stage_names import CONDITIONER, DENOISER, RENDERER, StageName
from serving.stages.contracts import AwayCause, StageAway, StageLost


def _died(stage: StageName = RENDERER, **fields: object) -> ActorDiedError:
    """As Ray makes it: the actor of a replica is named after its deployment."""
    context = ActorDiedErrorContext(
        class_name=f"ServeReplica:longtake-wan-1.3b+style:{stage}",
        actor_id=ActorID.from_random().binary(),
        error_message="The actor is dead because its worker process has died.",
        **fields,
    )
    return ActorDiedError(context)


def _wrapped(error: Exception) -> Exception:
    """As Ray hands it on: raised by a call that was given a reference, and of both types."""
    wrapped: Exception = RayTaskError("run_slice", f"trace: {error}", error).as_instanceof_cause()  # type: ignore[no-untyped-call]
    return wrapped


def _upstream(error: Exception) -> RayServeException:
    """As Serve's router raises it for a reference whose actor died."""
    wrapped = RayServeException("an upstream actor died before finishing a dependent task")
    wrapped.__cause__ = error
    return wrapped


def _preempted() -> ActorDiedError:
    return _died(node_death_info=NodeDeathInfo(reason=NodeDeathInfo.AUTOSCALER_DRAIN_PREEMPTED))


def _name(value: object) -> str:
    """Of a case: an error's own text has another actor's number in every process."""
    return type(value).__name__ if isinstance(value, Exception) else str(value)


@pytest.mark.parametrize(
    ("error", "stage"),
    [
        (_died(), RENDERER),
        (_died(CONDITIONER), CONDITIONER),
        (_wrapped(_died(CONDITIONER)), CONDITIONER),
        (_wrapped(_wrapped(_died(CONDITIONER))), CONDITIONER),
        (_upstream(_died(CONDITIONER)), CONDITIONER),
        (_wrapped(_upstream(_died(CONDITIONER))), CONDITIONER),
        (_died("another"), DENOISER),  # type: ignore[arg-type]
        (ActorDiedError(), DENOISER),
        (WorkerCrashedError(), DENOISER),
        (OutOfMemoryError("low on memory"), DENOISER),  # type: ignore[no-untyped-call]
    ],
    ids=_name,
)
def test_a_worker_that_died_under_the_call_is_lost_to_its_own_stage(error: Exception, stage: StageName) -> None:
    found = told(error, DENOISER)

    assert isinstance(found, StageLost)
    assert found.stage == stage


@pytest.mark.parametrize(
    "carried",
    [lambda died: died, _wrapped, lambda died: _wrapped(_upstream(died))],
    ids=["alone", "wrapped", "upstream"],
)
def test_a_death_is_told_alike_to_all_whom_it_concerns(carried: Callable[[Exception], Exception]) -> None:
    died = _died(CONDITIONER)

    found = told(carried(died), DENOISER)

    assert isinstance(found, StageLost)
    assert (found.stage, found.died) == (CONDITIONER, died.actor_id)


@pytest.mark.parametrize("error", [ActorDiedError(), WorkerCrashedError()], ids=_name)
def test_of_a_death_that_names_no_replica_none_is_told(error: Exception) -> None:
    found = told(error, DENOISER)

    assert isinstance(found, StageLost)
    assert found.died == ""


_UNAVAILABLE = DeploymentUnavailableError(DeploymentID("renderer", "longtake"))


@pytest.mark.parametrize(
    ("error", "cause", "stage", "may_have_begun"),
    [
        (_UNAVAILABLE, "no_replica", RENDERER, False),
        (_wrapped(_UNAVAILABLE), "no_replica", RENDERER, False),
        (ReplicaUnavailableError("r1"), "no_replica", DENOISER, False),
        (RayServeException("the application is gone"), "no_replica", DENOISER, False),
        (_died(never_started=True), "no_replica", RENDERER, False),
        (BackPressureError(num_queued_requests=1, max_queued_requests=1), "full", DENOISER, False),
        (_wrapped(BackPressureError(1, 1)), "full", DENOISER, False),
        (_preempted(), "unreachable", RENDERER, True),
        (ActorUnavailableError("no connection", None), "unreachable", DENOISER, True),
        (NodeDiedError("it is gone"), "unreachable", DENOISER, True),  # type: ignore[no-untyped-call]
        (ObjectLostError("ff", None, ""), "unreachable", DENOISER, True),
        (_wrapped(ObjectLostError("ff", None, "")), "unreachable", DENOISER, True),
        (TaskCancelledError(), "unreachable", DENOISER, True),
        (RequestCancelledError("r"), "unreachable", DENOISER, True),
    ],
    ids=_name,
)
def test_a_call_that_no_replica_did_says_nothing_of_the_work(
    error: Exception, cause: AwayCause, stage: StageName, *, may_have_begun: bool
) -> None:
    found = told(error, DENOISER)

    assert isinstance(found, StageAway)
    assert (found.cause, found.stage, found.may_have_begun) == (cause, stage, may_have_begun)


def test_a_stages_own_error_comes_out_of_rays_wrapping() -> None:
    error = InvalidArgument("image", "broken")

    assert told(_wrapped(error), DENOISER) is error
    assert told(_wrapped(_wrapped(error)), DENOISER) is error
    unknown = _wrapped(ZeroDivisionError("x"))
    assert told(unknown, DENOISER) is unknown
    assert isinstance(told(_wrapped(StageLost("gone")), DENOISER), StageLost)
