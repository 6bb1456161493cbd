"""Checkpoints: what is written is what is read, what does not fit is refused, and the cost is bounded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load

from engines.families.base import Denoising
from serving.stages.checkpoint import KEPT, MOST_LEARNT_S, SHARE, CheckpointedWork, CheckpointPolicy, Checkpoints
from serving.store.open import open_store

pytestmark = pytest.mark.anyio
_TIMES = np.linspace(1, 0, 5, dtype=np.float32)
_WORK = CheckpointedWork("studio", "vid_a", 3, 1, "fingerprint")


def _state() -> Denoising:
    return Denoising(np.zeros((2, 16, 4, 4), np.float32), 0, _TIMES)


@pytest.fixture
async def checkpoints(tmp_path: Path) -> Checkpoints:
    return Checkpoints(await open_store(str(tmp_path / "store"), probe=False))


async def test_a_state_is_restored_exactly(checkpoints: Checkpoints) -> None:
    latents = np.random.default_rng(1).standard_normal((2, 16, 4, 4)).astype(np.float32)
    await checkpoints.write(_WORK, 3, latents, _TIMES)

    found = await checkpoints.newest(_WORK)

    state = _state()
    assert found is not None
    assert found.restore(state)
    assert state.step == 3
    np.testing.assert_array_equal(state.latents, latents)


async def test_what_the_sampler_remembers_is_restored_with_the_latents(checkpoints: Checkpoints) -> None:
    random = np.random.default_rng(1)
    latents, *past = (random.standard_normal((2, 16, 4, 4)).astype(np.float32) for _ in range(3))
    await checkpoints.write(_WORK, 3, latents, _TIMES, {"before": past[0], "clean": past[1]})

    found = await checkpoints.newest(_WORK)

    state = _state()
    assert found is not None
    assert found.restore(state)
    assert state.memory.keys() == {"before", "clean"}
    np.testing.assert_array_equal(state.memory["before"], past[0])
    np.testing.assert_array_equal(state.memory["clean"], past[1])


async def test_a_sampler_that_remembers_nothing_has_checkpoints_as_they_always_were(
    checkpoints: Checkpoints, tmp_path: Path
) -> None:
    await checkpoints.write(_WORK, 3, np.zeros((2, 16, 4, 4), np.float32), _TIMES, {})
    (path,) = (path for path in tmp_path.rglob("vid_a/**/*") if path.is_file())
    assert load(path.read_bytes()).keys() == {"latents", "times", "step", "fingerprint"}


async def test_the_newest_of_any_attempt_is_read_and_two_are_kept(checkpoints: Checkpoints, tmp_path: Path) -> None:
    for attempt, step in ((1, 1), (1, 2), (2, 3)):
        work = CheckpointedWork("studio", "vid_a", 3, attempt, "fingerprint")
        await checkpoints.write(work, step, np.full((2, 16, 4, 4), step, np.float32), _TIMES)

    found = await checkpoints.newest(CheckpointedWork("studio", "vid_a", 3, 7, "fingerprint"))

    assert found is not None
    assert found.step == 3
    assert len([path for path in tmp_path.rglob("vid_a/**/*") if path.is_file()]) == KEPT


async def test_what_another_version_wrote_does_not_count(checkpoints: Checkpoints) -> None:
    other = CheckpointedWork("studio", "vid_a", 3, 1, "another")
    for step in (2, 3):
        await checkpoints.write(other, step, np.ones((2, 16, 4, 4), np.float32), _TIMES)
    await checkpoints.write(_WORK, 1, np.ones((2, 16, 4, 4), np.float32), _TIMES)

    found = await checkpoints.newest(_WORK)

    assert found is not None
    assert found.step == 1


def test_an_outage_does_not_switch_checkpoints_off() -> None:
    policy = CheckpointPolicy()
    policy.wrote(80.0)
    assert policy.due(MOST_LEARNT_S / SHARE)


async def test_other_work_and_torn_bytes_are_refused(checkpoints: Checkpoints, tmp_path: Path) -> None:
    latents = np.ones((2, 16, 4, 4), np.float32)
    await checkpoints.write(_WORK, 1, latents, _TIMES)
    whole = await checkpoints.write(_WORK, 2, latents, _TIMES)
    assert await checkpoints.newest(CheckpointedWork("studio", "vid_a", 3, 1, "another")) is None

    _tear(tmp_path, whole)

    found = await checkpoints.newest(_WORK)
    assert found is not None
    assert found.step == 1


def _tear(tmp_path: Path, key: str) -> None:
    (torn,) = [path for path in tmp_path.rglob("*") if path.name == key.rpartition("/")[2]]
    torn.chmod(0o644)
    torn.write_bytes(torn.read_bytes()[:-9])


async def _steps(checkpoints: Checkpoints) -> list[int]:
    return [int(key.rpartition("/")[2].partition("-")[0]) for key in await checkpoints._keys(_WORK)]


async def test_torn_ones_of_later_steps_take_no_place_from_what_is_written_after_them(
    checkpoints: Checkpoints, tmp_path: Path
) -> None:
    latents = np.ones((2, 16, 4, 4), np.float32)
    for step in (18, 20):
        _tear(tmp_path, await checkpoints.write(_WORK, step, latents, _TIMES))
    assert await checkpoints.newest(_WORK) is None

    for step, kept in ((4, [20, 18, 4]), (8, [20, 18, 8, 4]), (12, [20, 18, 12, 8])):
        await checkpoints.write(_WORK, step, latents, _TIMES)
        found = await checkpoints.newest(_WORK)
        assert found is not None
        assert (found.step, await _steps(checkpoints)) == (step, kept)

    for step in (22, 24):  # and go in their turn
        await checkpoints.write(_WORK, step, latents, _TIMES)
    assert await _steps(checkpoints) == [24, 22]


async def test_a_torn_one_is_whole_again_when_its_step_comes_again(checkpoints: Checkpoints, tmp_path: Path) -> None:
    latents = np.ones((2, 16, 4, 4), np.float32)
    whole = await checkpoints.write(_WORK, 2, latents, _TIMES)
    _tear(tmp_path, whole)
    assert await checkpoints.newest(_WORK) is None

    assert await checkpoints.write(_WORK, 2, latents, _TIMES) == whole

    found = await checkpoints.newest(_WORK)
    assert found is not None
    assert found.step == 2
    for step in (1, 3):  # and it counts as any other
        await checkpoints.write(_WORK, step, latents, _TIMES)
    assert await _steps(checkpoints) == [3, 2]


async def test_what_was_just_written_stays_though_nothing_that_is_there_was_read(checkpoints: Checkpoints) -> None:
    latents = np.ones((2, 16, 4, 4), np.float32)
    for step in (18, 20, 4, 8):
        await checkpoints.write(_WORK, step, latents, _TIMES)
        assert step in await _steps(checkpoints)

    assert await _steps(checkpoints) == [20, 18, 8]


async def test_what_does_not_fit_or_is_no_progress_is_left_alone(checkpoints: Checkpoints) -> None:
    await checkpoints.write(_WORK, 2, np.ones((2, 16, 4, 4), np.float32), _TIMES)
    found = await checkpoints.newest(_WORK)
    assert found is not None
    other_size = Denoising(np.zeros((1, 16, 4, 4), np.float32), 0, _TIMES)
    other_times = Denoising(np.zeros((2, 16, 4, 4), np.float32), 0, np.linspace(1, 0, 9, dtype=np.float32))
    further = Denoising(np.zeros((2, 16, 4, 4), np.float32), 3, _TIMES)
    assert [found.restore(state) for state in (other_size, other_times, further)] == [False] * 3
    assert further.latents.max() == 0


@given(costs=st.lists(st.floats(0.0005, 2.0), min_size=1, max_size=60), slice_s=st.floats(0.01, 5))
def test_checkpoints_cost_no_more_than_their_share_in_the_long_run(costs: list[float], slice_s: float) -> None:
    policy = CheckpointPolicy()
    work = spent = unsaved = 0.0
    for cost in costs:
        while not policy.due(unsaved):
            unsaved += slice_s
            work += slice_s
        policy.wrote(cost)
        spent += cost
        unsaved = 0.0
    # What a checkpoint costs is known only afterwards: the dearest one of a row may be paid for too late.
    assert spent <= SHARE * work + len(costs) * max(costs)
    while not policy.due(unsaved):
        unsaved += slice_s
    assert unsaved * SHARE >= costs[-1] * 0.3
