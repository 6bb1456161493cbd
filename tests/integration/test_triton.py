"""A real Triton Inference Server runs the engines, and videos come out as if it did not.

Its Python backend calls ONNX Runtime (`tests/triton/model.py`): what the wheel of the server has no backend for.
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from structlog.testing import capture_logs
from structlog.typing import EventDict

from engines import model_repository, models
from engines.errors import EngineAway
from engines.families.base import Conditions, Denoising
from engines.families.history import Before
from engines.session import Session, load_session, open_found
from engines.store import Found
from loadtests.studio import MODEL, TENANT, studio
from serving import engine_store
from serving.jobs.record import JobRecord
from serving.reproduction.reproduce import reproduce
from serving.settings import Engines
from serving.stage_names import DENOISER, RENDERER
from serving.store.open import open_store
from tests.triton.server import TritonServer, missing, served_by_python

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(missing() is not None, reason=str(missing())),
    pytest.mark.xdist_group("triton"),
]
STEPS = 4


@pytest.fixture(scope="module")
def found() -> Found:
    """The engines of the package."""
    model = models.find(MODEL)
    return asyncio.run(model.package_store().find(model.name, model.weights_digest()))


@pytest.fixture(scope="module")
def started(found: Found, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    """A server that has them."""
    folder = tmp_path_factory.mktemp("triton")
    asyncio.run(model_repository.write(found, folder / "models"))
    served_by_python(folder / "models")
    server = TritonServer(folder / "models", folder)
    try:
        server.start()
        yield server
    finally:
        server.kill()


@pytest.fixture
def server(started: TritonServer) -> TritonServer:
    """The same; up again, whatever the test before did."""
    if started.process is None:
        started.start()
    return started


async def session_of(found: Found, server: TritonServer) -> Session:
    """The engines as a stage has them whose setting names the server."""
    return await open_found(models.family(MODEL), found, server=server.address)


async def test_each_engine_answers_as_it_does_in_process_to_the_byte(found: Found, server: TritonServer) -> None:
    family = models.find(MODEL).family
    with await session_of(found, server) as remote, await load_session(MODEL, threads=1) as local:
        for case in family.cases():
            wanted, got = (session.infer(case.component, case.inputs) for session in (local, remote))
            assert wanted.keys() == got.keys()
            for name, values in wanted.items():
                np.testing.assert_array_equal(got[name], values, err_msg=f"{case.component} {case.name} {name}")


async def test_a_video_and_its_extension_are_those_of_the_engines_in_process_to_the_byte(
    found: Found, server: TritonServer, tmp_path: Path
) -> None:
    async with studio(tmp_path / "store") as local:
        video = await local.make(seconds=1, aspect_ratio="1:1", steps=STEPS)
        longer = await local.make(seconds=1, aspect_ratio="1:1", steps=STEPS, parent=video)
    store = await open_store(str(tmp_path / "store"), probe=False)
    settings = Engines(triton=server.address)
    assert (await engine_store.check(MODEL, store, settings)).manifest.digest == found.manifest.digest
    with await engine_store.load(MODEL, store, settings, threads=1) as remote:
        for job in (video, longer):
            digests = await reproduce(store, TENANT, job.id, remote)
            assert {digest.what for digest in digests} == {"latents", "media", "header", "thumbnail", "manifest"}
            assert all(digest.equal for digest in digests), [one for one in digests if not one.equal]
        assert remote.usage["dit"].calls == 2 * STEPS
    await store.close()


async def test_a_server_that_is_killed_holds_the_job_up_and_it_goes_on_when_the_server_is_back(
    found: Found, server: TritonServer, tmp_path: Path
) -> None:
    async with studio(tmp_path / "store") as local:
        video = await local.make(seconds=2, aspect_ratio="1:1", steps=12)
    store = await open_store(str(tmp_path / "store"), probe=False)
    seen: list[JobRecord] = []

    with await session_of(found, server) as remote, capture_logs() as logs:

        def strike(record: JobRecord) -> None:
            seen.append(record)
            away = told(logs, "a stage is away")
            if server.process is not None and record.segments and not away:
                server.kill()
            elif server.process is None and away:
                server.start()

        digests = await reproduce(store, TENANT, video.id, remote, on_progress=strike)
    await store.close()
    assert all(digest.equal for digest in digests), [one for one in digests if not one.equal]
    away, back = told(logs, "a stage is away"), told(logs, "a stage is back")
    assert {entry["stage"] for entry in away} <= {DENOISER, RENDERER}
    assert {entry["stage"] for entry in away} == {entry["stage"] for entry in back}
    assert f"the Triton server at {server.address} is not there" in away[0]["why"]
    assert (seen[-1].crashes, seen[-1].faults) == (0, 0)


async def test_a_run_that_was_stopped_goes_on_in_a_server_that_was_started_anew_to_the_same_bytes(
    found: Found, server: TritonServer
) -> None:
    latent = {"latent": np.zeros((1, 16, 8, 8), np.float32)}
    with await load_session(MODEL, threads=1) as local:
        state, half = begun(local), begun(local)
        while not state.done:
            local.family.step(local, [state])
    with await session_of(found, server) as remote:
        before = remote.infer("vae_decoder_first", latent)
        while half.step < half.steps // 2:
            remote.family.step(remote, [half])
        kept = copy.deepcopy(half)
        server.kill()
        with pytest.raises(EngineAway, match=f"the Triton server at {server.address} is not there"):
            remote.family.step(remote, [half])
        server.start()
        while not kept.done:
            with suppress(EngineAway):  # a moment passes until the connection is made again
                remote.family.step(remote, [kept])
        after = remote.infer("vae_decoder_first", latent)  # whose shared memory is not known to this server
    np.testing.assert_array_equal(kept.latents, state.latents)
    np.testing.assert_array_equal(after["frame"], before["frame"])


def told(logs: list[EventDict], event: str) -> list[EventDict]:
    """What the log says of it."""
    return [entry for entry in logs if entry["event"] == event]


def begun(session: Session) -> Denoising:
    """A segment from noise, of six steps."""
    family = session.family
    before = Before(family.capabilities.canvases[0])
    (caption,) = family.read_prompt("a red square moves right", seed=1, before=before).effective_prompts
    text = family.encode_text(session, caption)
    return family.start(
        Conditions(before.canvas, text, effective_prompt=caption, before=before), seed=1, segment=0, steps=6
    )
