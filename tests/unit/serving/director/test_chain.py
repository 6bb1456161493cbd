"""What a manifest says of a growing video."""

from __future__ import annotations

from dataclasses import replace

import pytest

from engines.families.base import Family
from engines.families.history import HistoryPlan
from serving.director import chain
from serving.director.history import History, grown, history_of, script_of
from serving.jobs.history import Event, EventKind
from serving.jobs.record import JobRecord, JobState
from serving.segments.lineage import Segments
from serving.segments.manifest import LatentRef
from serving.stages.contracts import ConditionCall, InputsResult
from tests.sim.model import TinyFamily
from tests.unit.serving.director.conftest import TENANT, Office
from tests.unit.serving.segments.manifests import manifests_of

FAMILY: Family = TinyFamily()
ROOT = LatentRef(blob="a" * 64, start=0, count=5)
_FIRST = {"start": 0, "count": 1}
NEXT = LatentRef(blob="b" * 64, start=0, count=4)


PLAN = HistoryPlan()


def then(history: History | None, latents: LatentRef, plan: HistoryPlan = PLAN) -> History:
    return grown(history, latents, FAMILY, plan)


def called(job: JobRecord, inputs: InputsResult, history: History | None) -> ConditionCall:
    script = script_of(job, FAMILY, inputs, history, job.plan.segments[0])
    return chain.condition_call(job, inputs, history, script)


def test_the_anchor_stays_and_the_tail_moves() -> None:
    first = then(None, ROOT)
    second = then(first, NEXT)

    assert first.anchor == second.anchor == LatentRef(blob=ROOT.blob, start=0, count=1)
    assert first.tail == LatentRef(blob=ROOT.blob, start=3, count=2)
    assert second.tail == LatentRef(blob=NEXT.blob, start=2, count=2)
    assert second.lead(FAMILY) == LatentRef(blob=NEXT.blob, start=3, count=1)


def test_a_tail_reaches_back_into_the_lead_that_lies_in_front_of_a_segment() -> None:
    after = LatentRef(blob="c" * 64, start=5, count=1)
    tail = then(then(None, ROOT), after).tail
    assert tail == LatentRef(blob=after.blob, start=4, count=2)


@pytest.mark.anyio
async def test_a_segment_that_brings_its_lead_is_decoded_behind_that(office: Office) -> None:
    await office.director()
    done = await office.ended(await office.job(seconds=2))
    parent = (await manifests_of(Segments(office.store, TENANT), done.segments[-1]))[0]
    brought = LatentRef(blob="c" * 64, start=5, count=4)

    assert chain.render_call(done, FAMILY, None, ROOT).lead is None
    assert chain.render_call(done, FAMILY, parent, NEXT).lead == history_of(parent, FAMILY).lead(FAMILY)
    assert chain.render_call(done, FAMILY, parent, brought).lead == LatentRef(blob=brought.blob, start=0, count=5)


def test_what_a_plan_keeps_is_found_by_its_number_and_nothing_else_is_kept() -> None:
    first = then(None, ROOT, HistoryPlan(keep=(0, 3), facts="one"))
    second = then(first, NEXT, HistoryPlan(keep=(3, 6), facts="two"))

    assert (first.latents, second.latents) == (5, 9)
    assert first.kept == {number: LatentRef(blob=ROOT.blob, start=number, count=1) for number in (0, 3)}
    assert second.kept == {3: first.kept[3], 6: LatentRef(blob=NEXT.blob, start=1, count=1)}
    assert second.facts == "two"


def test_the_newest_of_a_film_from_elsewhere_may_be_kept_though_its_manifest_keeps_nothing() -> None:
    film = History(LatentRef(blob=ROOT.blob, start=0, count=1), LatentRef(blob=ROOT.blob, start=11, count=1), 12)
    assert then(film, NEXT, HistoryPlan(keep=(11, 12))).kept == {
        11: LatentRef(blob=ROOT.blob, start=11, count=1),
        12: LatentRef(blob=NEXT.blob, start=0, count=1),
    }


def test_what_a_segment_brings_in_front_of_its_own_may_be_kept_and_what_was_kept_before_stays() -> None:
    """It shows the same frames again, by the numbers that they have: the newest ones before the segment."""
    first = then(None, ROOT, HistoryPlan(keep=(3,)))
    brings = LatentRef(blob="c" * 64, start=2, count=4)

    assert then(first, brings, HistoryPlan(keep=(3, 4, 5))).kept == {
        3: first.kept[3],
        4: LatentRef(blob=brings.blob, start=1, count=1),
        5: LatentRef(blob=brings.blob, start=2, count=1),
    }


def test_captions_are_told_once_where_they_stay_the_same() -> None:
    assert chain.in_one(("a", "a", "b", "a")) == "a; then b; then a"
    assert chain.in_one(("a",)) == "a"


def test_warnings_are_said_once_in_their_order() -> None:
    assert chain.merged(("a", "b"), ("b", "c"), ("a",)) == ("a", "b", "c")


@pytest.mark.anyio
async def test_a_root_has_a_first_frame_and_what_follows_has_a_history(office: Office) -> None:
    job, inputs = await office.job(seconds=2), InputsResult(first_frame=NEXT, references=(NEXT,))

    root = called(job, inputs, None)
    further = called(job, inputs, then(None, ROOT))

    assert (root.first_frame, root.anchor, root.tail) == (NEXT, None, None)
    assert (further.first_frame, further.anchor, further.tail is None) == (None, ROOT.model_copy(update=_FIRST), False)
    assert root.references == further.references == (NEXT,)


@pytest.mark.anyio
async def test_what_decides_the_latents_has_the_fingerprint_that_stored_checkpoints_have(office: Office) -> None:
    job = await office.job(seconds=2)
    size = {"model": "sprite-1", "height": 64, "width": 64}
    job = job.model_copy(update={"plan": job.plan.model_copy(update=size)})
    root, further = job.plan.segments
    call = called(job, InputsResult(), None)

    known = chain.fingerprint(job, call, root)

    assert known == "f95b44d768e2924cb4b0ab28de19ec4a87ed2e4a2eef04ebeb363cf8b77a4be2"
    assert known != chain.fingerprint(job, call, further)
    assert known != chain.fingerprint(job, replace(call, effective_prompt="another"), root)
    led_away = job.request.model_copy(update={"negative_prompt": "blurred"})
    assert known != chain.fingerprint(job.model_copy(update={"request": led_away}), call, root)

    extending = called(job, InputsResult(references=(NEXT,)), then(None, ROOT))

    assert (
        chain.fingerprint(job, extending, further) == "65219b81a54ba362833bd169dda57874f1a80c7f364a5722677d8bfa8e1fd41c"
    )


@pytest.mark.anyio
async def test_the_history_that_found_no_room_is_counted(office: Office) -> None:
    await office.director()
    done = await office.ended(await office.job(seconds=3))

    assert done.state is JobState.SUCCEEDED
    path = await manifests_of(Segments(office.store, TENANT), done.segments[-1])
    # 5 latents in the root and 4 in each segment after it; the newest is seen.
    assert [manifest.history_left_out for manifest in path] == [0, 4, 8]
    assert [[source.kind for source in manifest.history] for manifest in path] == [[], ["newest"], ["newest"]]


@pytest.mark.anyio
async def test_where_a_job_stands_is_told_in_segments_of_the_whole_video(office: Office) -> None:
    job = await office.job(seconds=2)
    root, further = job.plan.segments
    fresh = job.model_copy(update={"plan": job.plan.model_copy(update={"segments": (further,)})})
    lost = Event(kind=EventKind.LOST, at_ms=1, attempt=1, epoch=1, segment=further.index, step=3)

    assert chain.stands_at(job) == (root.index, 0)
    assert chain.stands_at(job.model_copy(update={"segments": (ROOT.blob,)})) == (further.index, 0)
    assert chain.stands_at(fresh) == (further.index, 0)
    assert chain.stands_at(fresh.model_copy(update={"events": (lost,)})) == (further.index, 3)
    assert chain.remaining(job.model_copy(update={"images": (ROOT.blob,)})) == (further,)
