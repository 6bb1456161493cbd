"""Estimates: learnt slowly, robust against outliers, scaled to what was never seen, kept in the store."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines import models
from serving.estimates import Course, Estimates, load, save
from serving.plan import Plan, plan
from serving.requests import VideoRequest
from serving.stage_names import DENOISER, RENDERER
from serving.store.open import open_store


def _plan(aspect_ratio: str = "1:1", seconds: int = 3, steps: int = 8) -> Plan:
    request = VideoRequest(model="sprite-2", seconds=seconds, aspect_ratio=aspect_ratio, resolution="480p", steps=steps)
    return plan(request, models.family("sprite-2").capabilities, model_digest="d" * 64, seed=1)


def test_a_plan_costs_its_steps_and_segments() -> None:
    estimates, planned = Estimates(), _plan()
    root, further, _ = planned.segments
    estimates.observe(DENOISER, planned, root, 0.01)
    estimates.observe(DENOISER, planned, further, 0.02)
    estimates.observe(RENDERER, planned, root, 0.1)
    estimates.observe(RENDERER, planned, further, 0.2)

    assert estimates.predict(planned) == pytest.approx({DENOISER: 8 * 0.05, RENDERER: 0.5})
    assert estimates.remaining(Course.of(planned, 0)) == pytest.approx(8 * 0.05)
    assert estimates.remaining(Course.of(planned, 10)) == pytest.approx(6 * 0.02 + 8 * 0.02)
    assert estimates.remaining(Course.of(planned, 24)) == 0


@pytest.mark.parametrize("steps_done", [0, 3, 8, 17, 8 * 59, 8 * 59 + 5, 8 * 60])
def test_what_is_left_of_a_long_video_is_the_sum_of_its_segments(steps_done: int) -> None:
    estimates, planned = Estimates(), _plan(seconds=60)
    for segment in (planned.segments[0], planned.segments[1], planned.segments[-1]):
        estimates.observe(DENOISER, planned, segment, segment.latents / 100)
        estimates.observe(RENDERER, planned, segment, segment.latents / 10)
    steps = [estimates.unit(DENOISER, planned, segment) for segment in planned.segments for _ in range(planned.steps)]
    renders = [estimates.unit(RENDERER, planned, segment) for segment in planned.segments]

    course = Course.of(planned, 0).at(steps_done)

    assert estimates.remaining(course) == pytest.approx(sum(steps[steps_done:]), abs=1e-9)
    assert estimates.rendering(course) == pytest.approx(sum(renders[steps_done // planned.steps :]), abs=1e-9)
    assert estimates.last_rendering(course) == renders[-1]


def test_a_course_grows_with_the_sizes_and_not_with_the_segments() -> None:
    assert len(_plan(seconds=60).segments) > 20
    assert len(Course.of(_plan(seconds=60), 0).runs) <= 3


def test_one_outlier_moves_little_and_a_lasting_change_is_followed() -> None:
    estimates, planned = Estimates(), _plan()
    segment = planned.segments[0]
    for _ in range(50):
        estimates.observe(DENOISER, planned, segment, 0.01)
    estimates.observe(DENOISER, planned, segment, 60.0)
    assert estimates.unit(DENOISER, planned, segment) < 0.0121
    for _ in range(100):
        estimates.observe(DENOISER, planned, segment, 0.02)
    assert estimates.unit(DENOISER, planned, segment) == pytest.approx(0.02, rel=0.05)


def test_a_first_unit_that_warmed_an_engine_up_counts_no_longer_than_the_second() -> None:
    estimates, planned = Estimates(), _plan()
    segment = planned.segments[0]
    for seconds in (60.0, 0.01, 0.01):
        estimates.observe(DENOISER, planned, segment, seconds)
    assert estimates.unit(DENOISER, planned, segment) == 0.01


def test_what_was_never_seen_is_scaled_by_size() -> None:
    estimates, square, wide = Estimates(), _plan("1:1"), _plan("16:9")
    estimates.observe(DENOISER, square, square.segments[0], 0.01)
    ratio = (wide.height * wide.width) / (square.height * square.width)
    assert estimates.unit(DENOISER, wide, wide.segments[0]) == pytest.approx(0.01 * ratio)
    assert Estimates().unit(DENOISER, wide, wide.segments[0]) > 0


@given(st.dictionaries(st.tuples(st.text(), st.text(), st.integers(1)), st.floats(1e-6, 1e3)))
def test_they_are_read_as_they_were_written(known: dict[tuple[str, str, int], float]) -> None:
    written = Estimates(known)
    assert Estimates.decode(written.encode()).encode() == written.encode()


@pytest.mark.parametrize(
    "other",
    [
        b'{"a": 1}',
        b"[1]",
        b'[["denoiser", "d", 100, 1.0, "more"]]',
        b'[["denoiser", "d", 100, -1.0]]',
        b'[["denoiser", "d", 100, NaN]]',
        b'[["denoiser", "d", 100, 1e999]]',
        b'[["denoiser", "d", 0, 1.0]]',
        b'[["denoiser", "d", Infinity, 1.0]]',
    ],
)
def test_other_bytes_are_refused(other: bytes) -> None:
    with pytest.raises(ValueError, match="no estimates"):
        Estimates.decode(other)


@pytest.mark.anyio
async def test_they_outlive_their_director(tmp_path: Path) -> None:
    store = await open_store(str(tmp_path / "store"), probe=False)
    assert (await load(store)).encode() == Estimates().encode()
    for seconds in (0.01, 0.02):
        estimates, planned = Estimates(), _plan()
        estimates.observe(DENOISER, planned, planned.segments[0], seconds)
        await save(store, estimates)
        assert (await load(store)).encode() == estimates.encode()
    await store.close()


def test_a_time_of_0_is_not_learnt_for_ever() -> None:
    estimates, planned = Estimates(), _plan()
    root = planned.segments[0]
    prior = estimates.unit(DENOISER, planned, root)
    estimates.observe(DENOISER, planned, root, 0.0)
    assert estimates.unit(DENOISER, planned, root) == prior
    estimates.observe(DENOISER, planned, root, 0.5)
    assert estimates.unit(DENOISER, planned, root) == 0.5
    estimates.observe(DENOISER, planned, root, 0.0)
    assert estimates.unit(DENOISER, planned, root) == 0.5

    earlier = estimates.encode().replace(b"0.5", b"0.0")  # as a version before could write it
    assert Estimates.decode(earlier).unit(DENOISER, planned, root) == prior
