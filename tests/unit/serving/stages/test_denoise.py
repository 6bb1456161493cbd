"""The Denoiser by itself, on the real engines: what is resumed, what is made anew, who may cancel, what it hands on."""

from __future__ import annotations

import asyncio
import io
import pickle
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from engines.families.base import Array, Conditions, Denoising, Engines, Frames
from engines.families.sprite.family import SpriteFamily
from engines.session import Session
from serving.deployments.replicas import DenoiserReplica
from serving.errors import Unavailable
from serving.jobs.lease import Leases
from serving.segments.manifest import LatentRef
from serving.stages import denoise
from serving.stages.checkpoint import CheckpointPolicy
from serving.stages.contracts import (
    CancelCall,
    SliceCall,
    TakeCall,
)
from serving.stages.denoise import Denoiser
from serving.stages.latents import get_latents
from serving.stages.loaded import Loaded
from serving.stages.previews import EVERY_S
from serving.store.blobs import Blobs
from tests.unit.serving.conftest import Clock
from tests.unit.serving.stages.small import MODEL, TENANT, calls, conditions_of

pytestmark = pytest.mark.anyio


@pytest.fixture
async def denoiser(loaded: Loaded, anyio_backend: str) -> AsyncIterator[Denoiser]:
    denoiser = Denoiser(loaded, "one")
    denoiser.start()
    yield denoiser
    await denoiser.stop()


def _slice(**fields: Any) -> SliceCall:
    asked: dict[str, Any] = {
        "job": "job",
        "attempt": 1,
        "segment": 0,
        "seed": 7,
        "steps": 4,
        "budget_s": 30.0,
        "fingerprint": "f",
        "epoch": 1,
        **fields,
    }
    return SliceCall(tenant=TENANT, model=MODEL, **asked)


async def test_slices_reach_the_same_latents_as_one_run(loaded: Loaded, denoiser: Denoiser) -> None:
    conditions = await conditions_of(loaded)
    whole = await denoiser.run_slice(_slice(job="whole"), conditions)
    steps = [(await denoiser.run_slice(_slice(budget_s=0.0), conditions)).steps_done for _ in range(3)]
    last = await denoiser.run_slice(_slice(budget_s=0.0), conditions)

    assert steps == [1, 2, 3]
    assert (last.done, last.replica) == (True, "one")
    assert last.latents == whole.latents != None  # noqa: E711  (a chain: equal, and there)


async def test_finished_latents_that_the_store_did_not_take_are_put_again_and_not_made_again(
    loaded: Loaded, denoiser: Denoiser, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: object, lead: int) -> LatentRef:
        raise Unavailable("the store is away")

    conditions = await conditions_of(loaded)
    with monkeypatch.context() as patched:
        patched.setattr(denoise, "put_latents", away)
        with pytest.raises(Unavailable):
            await denoiser.run_slice(_slice(), conditions)
    before = calls(loaded, "dit")

    again = await denoiser.run_slice(_slice(), conditions)

    assert (again.done, again.from_step, calls(loaded, "dit")) == (True, 4, before)


async def test_a_segment_starts_again_on_a_replica_that_does_not_hold_it(loaded: Loaded, denoiser: Denoiser) -> None:
    conditions = await conditions_of(loaded)
    whole = await denoiser.run_slice(_slice(job="whole"), conditions)
    other = Denoiser(loaded, "two")
    other.start()

    moved = await other.run_slice(_slice(resume=True), conditions)
    assert moved.latents is not None
    taken = await other.take(TakeCall(TENANT, "gone", 1, 0, "one", moved.latents))
    await other.stop()

    assert moved.latents == whole.latents
    assert taken.shape == (5, 16, 8, 8)


async def test_a_killed_replicas_segment_goes_on_from_its_checkpoint_to_the_same_bytes(
    loaded: Loaded, denoiser: Denoiser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CheckpointPolicy, "due", lambda policy, computed_s: True)
    conditions = await conditions_of(loaded)
    whole = await denoiser.run_slice(_slice(job="whole"), conditions)
    await denoiser.run_slice(_slice(budget_s=0.0), conditions)
    await asyncio.gather(*denoiser._writing.values())  # of each segment, one checkpoint is written at a time
    reached = await denoiser.run_slice(_slice(budget_s=0.0), conditions)
    await denoiser.stop()  # waits for the checkpoint that is being written
    before = calls(loaded, "dit")
    other = Denoiser(loaded, "two")
    other.start()

    resumed = await other.run_slice(_slice(attempt=2, resume=True), conditions)
    await other.stop()

    assert (reached.steps_done, resumed.from_step, resumed.restored) == (2, 2, True)
    assert calls(loaded, "dit") == before + 2
    assert resumed.latents == whole.latents


class Momentum(SpriteFamily):
    """A sampler whose every step goes on a little in the direction of the last one."""

    def step(self, engines: Engines, states: Sequence[Denoising]) -> None:
        before = [state.latents for state in states]
        super().step(engines, states)
        for state, latents in zip(states, before, strict=True):
            state.memory = {"moved": state.latents - latents + 0.1 * state.memory.get("moved", np.float32(0))}
            state.latents = latents + state.memory["moved"]


async def test_a_sampler_that_remembers_goes_on_from_its_checkpoint_to_the_same_bytes(
    loaded: Loaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CheckpointPolicy, "due", lambda policy, computed_s: True)
    conditions = await conditions_of(loaded)
    loaded = replace(loaded, session=Session(Momentum(), loaded.session.runners, digest=loaded.session.digest))
    replicas = [Denoiser(loaded, name) for name in ("one", "two")]
    for replica in replicas:
        replica.start()
    whole = await replicas[0].run_slice(_slice(job="whole"), conditions)
    await replicas[0].run_slice(_slice(budget_s=0.0), conditions)
    await asyncio.gather(*replicas[0]._writing.values())
    await replicas[0].run_slice(_slice(budget_s=0.0), conditions)
    await replicas[0].stop()

    resumed = await replicas[1].run_slice(_slice(attempt=2, resume=True), conditions)
    await replicas[1].stop()

    assert (resumed.from_step, resumed.restored) == (2, True)
    assert resumed.latents == whole.latents


class Shown(SpriteFamily):
    """Shows of a segment how far it has come."""

    breaks = False

    def preview(self, engines: Engines, latents: Array, memory: Mapping[str, Array]) -> Frames:
        if self.breaks:
            raise ValueError("no picture")
        return np.full((64, 64, 3), round(100 * float(latents.std())), np.uint8)


@pytest.fixture
def showing(loaded: Loaded, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Denoiser:
    """A Denoiser of a family with previews, to be started and stopped."""
    monkeypatch.setattr(CheckpointPolicy, "due", lambda policy, computed_s: True)
    shown = replace(loaded, session=Session(Shown(), loaded.session.runners, digest=loaded.session.digest))
    return Denoiser(shown, "one", clock=clock.seconds)


async def _step(denoiser: Denoiser, conditions: Conditions) -> str:
    """Its preview, after one more step."""
    result = await denoiser.run_slice(_slice(budget_s=0.0), conditions)
    await asyncio.gather(*denoiser._writing.values())
    return result.preview


async def test_an_unfinished_segment_is_shown_now_and_then(loaded: Loaded, showing: Denoiser, clock: Clock) -> None:
    """With the slice after, for nobody waits until it is drawn."""
    conditions = await conditions_of(loaded)
    showing.start()
    first, second = [await _step(showing, conditions) for _ in range(2)]
    clock.pass_s(EVERY_S)
    third, fourth = [await _step(showing, conditions) for _ in range(2)]
    await showing.stop()

    assert first == fourth == ""
    assert second == third != ""
    picture = Image.open(io.BytesIO(await loaded.blobs(TENANT).get(second)))
    assert (picture.format, picture.size) == ("PNG", (64, 64))


async def test_each_preview_shows_how_far_it_was(loaded: Loaded, showing: Denoiser, clock: Clock) -> None:
    conditions = await conditions_of(loaded)
    showing.start()
    seen = []
    for _ in range(3):
        seen.append(await _step(showing, conditions))
        clock.pass_s(EVERY_S)
    await showing.stop()

    assert len(set(seen)) == 3


@pytest.mark.parametrize("broken", ["family", "store"])
async def test_no_work_ends_for_want_of_a_picture(
    loaded: Loaded, showing: Denoiser, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    async def away(*_: object) -> str:
        raise Unavailable("the store is away")

    if broken == "family":
        monkeypatch.setattr(Shown, "breaks", True)
    else:
        monkeypatch.setattr(Blobs, "put", away)
    conditions = await conditions_of(loaded)
    showing.start()
    assert [await _step(showing, conditions) for _ in range(3)] == [""] * 3
    monkeypatch.undo()
    assert (await showing.run_slice(_slice(), conditions)).done
    await showing.stop()


async def test_jobs_that_are_stepped_together_become_what_they_become_alone(loaded: Loaded, denoiser: Denoiser) -> None:
    conditions = await conditions_of(loaded)
    seeds = range(6)
    alone = [await denoiser.run_slice(_slice(job=f"alone-{seed}", seed=seed), conditions) for seed in seeds]
    before = calls(loaded, "dit")

    together = await asyncio.gather(
        *(denoiser.run_slice(_slice(job=f"crowd-{seed}", seed=seed, rank=(0, 5)), conditions) for seed in seeds)
    )

    assert [result.latents for result in together] == [result.latents for result in alone]
    assert calls(loaded, "dit") - before < len(seeds) * 4


async def test_slices_of_a_director_that_was_replaced_are_refused(loaded: Loaded, denoiser: Denoiser) -> None:
    conditions = await conditions_of(loaded)
    await denoiser.run_slice(replace(_slice(budget_s=0.0), epoch=2), conditions)
    old = await denoiser.run_slice(_slice(), conditions)
    assert (old.stale, old.steps_done, old.latents) == (True, 0, None)


@pytest.mark.parametrize(("epoch", "attempt"), [(1, 1), (2, 1)], ids=["Director", "attempt"])
async def test_a_slice_that_was_outdated_while_its_checkpoint_was_read_ends_none_of_the_newer_ones(
    loaded: Loaded, denoiser: Denoiser, monkeypatch: pytest.MonkeyPatch, epoch: int, attempt: int
) -> None:
    reads, read = asyncio.Event(), asyncio.Event()

    async def slowly(*_: object) -> None:
        reads.set()
        await read.wait()

    monkeypatch.setattr(denoiser._checkpoints, "newest", slowly)
    conditions = await conditions_of(loaded)
    late = asyncio.create_task(denoiser.run_slice(_slice(epoch=epoch, attempt=attempt, resume=True), conditions))
    await reads.wait()
    begun = await denoiser.run_slice(_slice(epoch=2, attempt=2, budget_s=0.0), conditions)
    read.set()
    old = await late
    went_on = await denoiser.run_slice(_slice(epoch=2, attempt=2), conditions)
    await denoiser.stop()
    lease = await Leases(loaded.store).read("job", 2)

    assert (old.stale, old.steps_done, old.latents) == (True, 0, None)
    assert (begun.steps_done, went_on.from_step, went_on.done) == (1, 1, True)
    assert lease is not None
    assert (lease.epoch, lease.holder) == (2, "one")


async def test_a_finished_segment_is_not_run_again_and_is_handed_over(loaded: Loaded, denoiser: Denoiser) -> None:
    conditions = await conditions_of(loaded)
    done = await denoiser.run_slice(_slice(), conditions)
    before = calls(loaded, "dit")

    again = await denoiser.run_slice(_slice(), conditions)

    assert again.latents == done.latents is not None
    assert calls(loaded, "dit") == before
    taken = await denoiser.take(TakeCall(TENANT, "job", 1, 0, "one", done.latents))
    np.testing.assert_array_equal(taken, await get_latents(loaded.blobs(TENANT), done.latents))


@pytest.mark.parametrize("budget_s", [0.0, 30.0], ids=["begun", "finished"])
async def test_other_work_under_the_same_job_and_segment_is_done_anew(
    loaded: Loaded, denoiser: Denoiser, budget_s: float
) -> None:
    conditions = await conditions_of(loaded)
    wanted = await denoiser.run_slice(_slice(job="fresh", seed=8), conditions)
    before = await denoiser.run_slice(_slice(seed=7, fingerprint="before", budget_s=budget_s), conditions)

    now = await denoiser.run_slice(_slice(seed=8, fingerprint="now"), conditions)

    assert (now.done, now.from_step, now.latents) == (True, 0, wanted.latents)
    assert now.latents != before.latents


async def test_latents_are_handed_over_by_their_digest(loaded: Loaded, denoiser: Denoiser) -> None:
    conditions = await conditions_of(loaded)
    results = [await denoiser.run_slice(_slice(seed=seed, fingerprint=f"{seed}"), conditions) for seed in (7, 8)]

    for latents in [result.latents for result in results]:
        assert latents is not None
        taken = await denoiser.take(TakeCall(TENANT, "job", 1, 0, "one", latents))
        np.testing.assert_array_equal(taken, await get_latents(loaded.blobs(TENANT), latents))


@pytest.mark.parametrize(("epoch", "stops"), [(1, False), (2, True), (3, True), (None, True)])
async def test_only_a_director_that_was_not_replaced_cancels(
    loaded: Loaded, denoiser: Denoiser, epoch: int | None, stops: bool
) -> None:
    conditions = await conditions_of(loaded)
    begun = await denoiser.run_slice(_slice(epoch=2, steps=40, budget_s=0.0), conditions)
    running = asyncio.create_task(denoiser.run_slice(_slice(epoch=2, steps=40), conditions))
    await asyncio.sleep(0)  # it is handed to the loop before anything is cancelled

    await denoiser.cancel(CancelCall("job", "one", epoch))
    went_on = await running
    again = await denoiser.run_slice(_slice(epoch=2, steps=40, budget_s=0.0), conditions)

    assert begun.steps_done == 1
    assert (went_on.cancelled, went_on.done) == (stops, not stops)
    assert again.from_step == (0 if stops else 40)


@pytest.mark.parametrize(
    ("epoch", "attempt", "runs"), [(2, 3, False), (2, 4, True), (3, 3, True)], ids=["its own", "next", "another's"]
)
async def test_a_slice_that_comes_after_its_cancellation_is_not_run(
    loaded: Loaded, denoiser: Denoiser, epoch: int, attempt: int, runs: bool
) -> None:
    conditions = await conditions_of(loaded)
    before = calls(loaded, "dit")

    await denoiser.cancel(CancelCall("job", "one", 2, 3))
    late = await denoiser.run_slice(_slice(epoch=epoch, attempt=attempt), conditions)

    assert (late.cancelled, late.done, calls(loaded, "dit") > before) == (not runs, runs, runs)


def test_a_cancellation_of_an_earlier_version_is_read() -> None:
    earlier = CancelCall.__new__(CancelCall)
    earlier.__dict__.update(job="job", replica="one")  # what unpickling does

    found = pickle.loads(pickle.dumps(earlier))
    assert (found.epoch, found.attempt) == (None, 0)


async def test_cancelling_forgets_what_was_finished(loaded: Loaded, denoiser: Denoiser) -> None:
    conditions = await conditions_of(loaded)
    await denoiser.run_slice(_slice(), conditions)
    before = calls(loaded, "dit")

    await denoiser.cancel(CancelCall("job", "one"))
    await denoiser.run_slice(_slice(), conditions)

    assert calls(loaded, "dit") == before + 4


@pytest.mark.parametrize("broken", [False, True], ids=["as it is", "a checkpoint meets a fault of ours"])
async def test_a_replica_that_serve_ends_lets_its_leases_go(
    loaded: Loaded, monkeypatch: pytest.MonkeyPatch, broken: bool
) -> None:
    async def write(*work: object) -> None:
        raise RuntimeError("a fault of ours")

    denoiser = Denoiser(loaded, "one")
    denoiser.start()
    if broken:
        monkeypatch.setattr(denoiser._checkpoints, "write", write)
        monkeypatch.setattr(denoiser._policy, "due", lambda _seconds: True)
    replica = DenoiserReplica.__new__(DenoiserReplica)
    replica._denoiser = denoiser
    await denoiser.run_slice(_slice(budget_s=0.0), await conditions_of(loaded))
    async with asyncio.timeout(10):
        while (lease := await Leases(loaded.store).read("job", 1)) is None:  # noqa: ASYNC110  (a store tells nobody)
            await asyncio.sleep(0.05)
    assert not lease.released

    await replica.__del__()
    monkeypatch.delattr(DenoiserReplica, "__del__")  # Serve's is the only call
    del replica

    lease = await Leases(loaded.store).read("job", 1)
    assert lease is not None
    assert lease.released
