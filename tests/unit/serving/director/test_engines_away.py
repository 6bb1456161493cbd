"""Engines on a server that is not there: the stage that calls them counts as away, and nobody's job is at fault."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from numpy.typing import NDArray
from structlog.testing import capture_logs

from engines.errors import EngineAway, EngineSilent
from engines.runtimes.base import Arrays, Runner
from engines.session import Session
from serving.errors import LongtakeError
from serving.jobs.history import EventKind
from serving.jobs.lease import Leases
from serving.jobs.record import JobState
from serving.stage_names import CONDITIONER, DENOISER, RENDERER, StageName
from serving.stages.contracts import StageAway, StageLost
from tests.unit.serving.director.conftest import Office

pytestmark = pytest.mark.anyio
AWAY = EngineAway("the Triton server at 127.0.0.1:8001 is not there: start it, or change `engines.triton`")
SILENT = EngineSilent("dit on the Triton server at 127.0.0.1:8001 has not answered a call in 240 s")


class Failing(Runner):
    """Of an engine that fails so often, and computes what it should afterwards."""

    def __init__(self, sound: Runner, errors: list[Exception]) -> None:
        super().__init__(sound.component)
        self._sound = sound
        self._errors = errors
        self._active = True

    def _load(self) -> None:
        raise NotImplementedError

    def _run(self, inputs: Arrays) -> dict[str, NDArray[np.generic]]:
        if self._errors:
            raise self._errors.pop(0)
        return self._sound.infer(inputs)

    def _unload(self) -> None:
        raise NotImplementedError


@contextmanager
def failing(session: Session, component: str, errors: list[Exception]) -> Iterator[None]:
    sound = session.runners[component]
    session.runners[component] = Failing(sound, errors)
    try:
        yield
    finally:
        session.runners[component] = sound


@pytest.mark.parametrize(
    ("component", "stage"), [("dit", DENOISER), ("vae_decoder_first", RENDERER), ("vae_decoder_step", RENDERER)]
)
async def test_a_server_that_goes_away_costs_a_job_nothing_but_time(
    office: Office, session: Session, component: str, stage: StageName
) -> None:
    gone: list[Exception] = [AWAY, AWAY, AWAY]
    with failing(session, component, gone), capture_logs() as logs:
        job = await office.job()
        await office.director()
        done = await office.ended(job)
    assert gone == []
    (away,) = [entry for entry in logs if entry["event"] == "a stage is away"]
    assert (away["stage"], away["cause"], away["why"]) == (stage, "unreachable", str(AWAY))
    assert done.state is JobState.SUCCEEDED
    assert (done.attempt, done.crashes, done.faults) == (1, 0, 0)


async def test_a_call_that_never_comes_back_counts_as_a_worker_that_was_lost(office: Office, session: Session) -> None:
    with failing(session, "dit", [SILENT]):
        job = await office.job()
        await office.director()
        done = await office.ended(job)
    assert done.state is JobState.SUCCEEDED
    assert done.attempt == 2
    (lost,) = [event for event in done.events if event.kind is EventKind.LOST]
    assert lost.text == f"denoiser: {SILENT}"


@pytest.mark.parametrize(("error", "kind"), [(AWAY, StageAway), (SILENT, StageLost)])
async def test_the_stage_whose_engine_it_is_is_named(
    office: Office, session: Session, error: Exception, kind: type[LongtakeError]
) -> None:
    loaded = office.stages._loaded.of(CONDITIONER)
    frames = np.zeros((1, 4, 3, 128, 128), np.float32)
    with failing(session, "vae_encoder", [error]), pytest.raises(kind, match="the Triton server") as raised:
        loaded.infer("vae_encoder", {"frames": frames})
    assert vars(raised.value)["stage"] == CONDITIONER


async def test_an_attempt_whose_engines_went_away_is_held_by_nobody(office: Office, session: Session) -> None:
    gone: list[Exception] = [AWAY] * 1000
    with failing(session, "dit", gone):
        job = await office.job()
        await office.director()
        while len(gone) > 998:  # noqa: ASYNC110  (engines tell nobody)
            await asyncio.sleep(0.01)
        async with asyncio.timeout(30):
            while not ((lease := await Leases(office.store).read(job.id, 1)) and lease.released):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        gone.clear()
        assert (await office.ended(job)).attempt == 1
