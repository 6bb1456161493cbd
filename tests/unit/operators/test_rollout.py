"""How a change of a service goes: begun, ready, held, or given up. And what is made of both versions meanwhile."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import accumulate
from math import inf
from typing import Any

import pytest
import yaml

from operators.api.rollout import Redeploys, Rollout, RolloutStatus, State
from operators.policies.engines import Making, engines_awaited
from operators.policies.redeploys import PAUSE, redeployed
from operators.policies.redeploys import look_again_s as redeploys_again_s
from operators.policies.rollout import READY_S, REASON, TERMINAL_S, Seen, decide, going, late, look_again_s
from operators.policies.state import Finding
from operators.policies.versions import Versions
from tests.unit.operators.services import OWNER, build_spec, model_spec, spec

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LACKS = Finding("StagesFailing", "denoiser of longtake-wan: EngineNotBuilt: no engines")
KEYS = {"trustedKeys": {"configMap": "keys"}}


def seen(seconds: float = 0, **parts: Any) -> Seen:
    """A change from a to b."""
    given: dict[str, Any] = {"generation": 2, "wanted": "b", "stable": "a", "asked": Rollout(), "lacks": LACKS}
    return Seen(**{**given, **parts}, now=NOW + timedelta(seconds=seconds))


def walked(*looks: Seen) -> list[RolloutStatus]:
    return list(accumulate(looks, decide, initial=RolloutStatus()))[1:]


def states(*looks: Seen) -> list[str]:
    return [rollout.state for rollout in walked(*looks)]


def test_stages_come_before_front_doors_and_each_is_to_be_ready_for_a_while() -> None:
    step = READY_S + 1
    assert states(
        seen(0),
        seen(5, lacks=None),
        seen(5 + step, lacks=None),
        seen(6 + step, lacks=None),
        seen(7 + 2 * step, lacks=None),
    ) == ["StagesStarting", "StagesStarting", "FrontDoorsRolling", "FrontDoorsRolling", "Complete"]


def test_what_is_ready_for_a_moment_begins_anew() -> None:
    almost = READY_S - 1
    _, ready, lacks, again = walked(seen(0), seen(1, lacks=None), seen(2), seen(2 + almost, lacks=None))
    assert (ready.ready_since, lacks.ready_since) == ("2026-01-01T00:00:01Z", "")
    assert again.state == "StagesStarting"


def test_a_change_of_front_doors_alone_waits_for_no_stage() -> None:
    assert states(seen(same_stages=True)) == ["FrontDoorsRolling"]


def test_the_first_version_is_made_whole_and_is_never_taken_back() -> None:
    first = {"stable": "", "generation": 1}
    assert states(seen(0, **first), seen(90_000, **first)) == ["StagesStarting", "StagesStarting"]
    ready = [seen(at, **first, lacks=None) for at in (1, 1 + READY_S)]
    assert states(seen(0, **first), *ready) == ["StagesStarting", "StagesStarting", "Complete"]


def test_what_is_there_when_a_change_begins_is_not_of_it_yet() -> None:
    back = walked(seen(0), seen(1801))[-1]
    assert decide(back, seen(1900, generation=3, lacks=None)).ready_since == ""


def test_what_is_not_ready_in_time_is_taken_back_and_says_why_and_what_to_do() -> None:
    _, before, after, rest = walked(seen(0), seen(1800), seen(1801), seen(90_000, lacks=None))
    assert (before.state, after.state) == ("StagesStarting", "RolledBack")
    assert (after.from_revision, after.to_revision) == ("a", "b")
    for part in ("revision b was taken back (not ready after 1800 s), and a serves", LACKS.message, "tries again"):
        assert part in after.message
    assert rest == after
    told = late(after, Rollout(), NOW)
    assert told is not None
    assert (told.reason, told.failing, told.message) == (REASON, True, after.message)


def test_front_doors_that_do_not_come_are_taken_back_too() -> None:
    doors = {"same_stages": True, "lacks": Finding("FrontDoorsRoll", "1 of 2 pods")}
    assert states(seen(0, **doors), seen(1801, **doors)) == ["FrontDoorsRolling", "RolledBack"]


@pytest.mark.parametrize(("seconds", "state"), [(TERMINAL_S, "StagesStarting"), (TERMINAL_S + 1, "RolledBack")])
def test_what_ray_gave_up_is_not_waited_for(seconds: float, state: str) -> None:
    found = walked(seen(0), seen(seconds, given_up=True))[-1]
    assert found.state == state
    assert ("Ray gave it up" in found.message) == (state == "RolledBack")


def test_who_would_rather_wait_is_told_and_it_goes_on() -> None:
    asked = Rollout(strategy="Wait", progress_deadline_seconds=60)
    begun, waiting, ready, done = walked(
        seen(0, asked=asked),
        seen(61, asked=asked),
        seen(500, asked=asked, lacks=None),
        seen(511, asked=asked, lacks=None),
    )
    assert late(begun, asked, NOW + timedelta(seconds=60)) is None
    told = late(waiting, asked, NOW + timedelta(seconds=61))
    assert told is not None
    assert (told.reason, told.message) == (REASON, f"revision b is not ready after 60 s: {LACKS.message}")
    assert look_again_s(waiting, asked, NOW + timedelta(seconds=61)) == float("inf")
    assert (ready.state, done.state) == ("StagesStarting", "FrontDoorsRolling")


def test_any_other_change_of_the_spec_tries_again() -> None:
    back = walked(seen(0), seen(1801))[-1]
    assert decide(back, seen(1900, generation=3)).state == "StagesStarting", "the same version, asked for anew"
    fixed = decide(back, seen(1900, generation=3, wanted="c"))
    assert (fixed.state, fixed.from_revision, fixed.to_revision) == ("StagesStarting", "a", "c")
    assert fixed.started_at == "2026-01-01T00:31:40Z"
    assert decide(back, seen(1900, generation=3, wanted="a")).state == "Complete", "taken out of the spec"


def test_another_deadline_meanwhile_lets_it_go_on() -> None:
    begun = walked(seen(0))[-1]
    longer = decide(begun, seen(1801, generation=3, asked=Rollout(progress_deadline_seconds=3600)))
    assert (longer.state, longer.started_at) == ("StagesStarting", begun.started_at)


def test_the_longer_it_takes_the_less_often_it_is_looked_at_and_its_deadline_is_not_missed() -> None:
    begun, asked = walked(seen(0))[-1], Rollout()

    def again_s(seconds: float, **changes: Any) -> float:
        return look_again_s(begun.model_copy(update=changes), asked, NOW + timedelta(seconds=seconds))

    assert [again_s(seconds) for seconds in (0, 59, 61, 1700)] == [5, 5, 30, 30]
    assert [again_s(1780), again_s(1799), again_s(1801)] == [20, 5, inf]
    assert again_s(600, ready_since=begun.started_at) == 5, "ten seconds of it count"
    assert again_s(600, state="Analysing") == 5, "nothing tells of a Job's end"


def test_while_it_is_held_no_time_passes() -> None:
    held = Finding("EnginesBuilding", "EngineBuild wan builds wan")
    waits, long_after, begun, over = walked(seen(0, held=held), seen(9_000, held=held), seen(9_001), seen(9_100))
    assert (waits.state, long_after.state, waits.message) == ("Held", "Held", held.message)
    assert (begun.state, over.state) == ("StagesStarting", "StagesStarting")


ANALYSED = Rollout.model_validate({"analysis": {"videos": 3}})
DIFFERS = Finding("ReplayDiffers", "1 of 3 videos came out otherwise; vid_a: segment 0: latents differs first", True)


def test_what_cannot_be_judged_is_taken_back_and_nothing_is_said_of_its_videos() -> None:
    unfit = Finding("ReplayUnfit", "finished videos could not be judged, 3 times: oh", True)
    *_, back = walked(seen(0, asked=ANALYSED), seen(1, asked=ANALYSED, lacks=unfit, unfit=True))
    assert back.state == "RolledBack"
    assert "was taken back (finished videos could not be judged), and a serves again. It lacked: " in back.message
    waits = Rollout.model_validate({"analysis": {"videos": 3}, "strategy": "Wait"})
    *_, waiting = walked(seen(0, asked=waits), seen(1, asked=waits, lacks=unfit, unfit=True))
    assert (waiting.state, waiting.message) == ("Analysing", unfit.message), "and never passed"


def test_where_it_is_asked_for_videos_are_replayed_before_anything_of_it_serves() -> None:
    begun, waits, passed, _ = walked(
        seen(0, asked=ANALYSED),
        seen(1, asked=ANALYSED, lacks=Finding("ReplayWaits", "the store is away"), given_up=True),
        seen(2, asked=ANALYSED, lacks=None, analysis="3 replayed"),
        seen(3, asked=ANALYSED),
    )
    assert (begun.state, waits.state, waits.message) == ("Analysing", "Analysing", "the store is away")
    assert (passed.state, passed.analysis, passed.message) == ("StagesStarting", "3 replayed", "")
    told = going(waits, stable=True)
    assert told is not None
    assert "the store is away" in told.message
    assert look_again_s(waits, ANALYSED, NOW) < READY_S


def test_a_video_that_comes_out_otherwise_takes_it_back_at_once_with_the_commands_words() -> None:
    _, back = walked(seen(0, asked=ANALYSED), seen(1, asked=ANALYSED, lacks=DIFFERS, differs=True))
    assert back.state == "RolledBack"
    for part in ("(a finished video came out otherwise), and a serves", f"The replay said: {DIFFERS.message}"):
        assert part in back.message


def test_a_replay_that_cannot_run_is_tried_until_the_deadline() -> None:
    away = {"asked": ANALYSED, "lacks": Finding("ReplayWaits", "the store is away"), "given_up": True}
    _, waits, back = walked(seen(0, **away), seen(1800, **away), seen(1801, **away))
    assert (waits.state, back.state) == ("Analysing", "RolledBack")
    assert "not ready after 1800 s" in back.message
    assert "the store is away" in back.message


def test_who_would_rather_wait_keeps_what_serves_and_is_told_what_differs() -> None:
    asked = ANALYSED.model_copy(update={"strategy": "Wait"})
    waits = walked(seen(0, asked=asked), seen(1, asked=asked, lacks=DIFFERS, differs=True))[-1]
    assert (waits.state, waits.message) == ("Analysing", DIFFERS.message)


def test_the_first_version_and_a_change_of_front_doors_replay_nothing() -> None:
    assert states(seen(0, asked=ANALYSED, stable="", generation=1)) == ["StagesStarting"]
    assert states(seen(0, asked=ANALYSED, same_stages=True)) == ["FrontDoorsRolling"]


def test_while_videos_are_replayed_what_serves_is_as_before_beside_one_job() -> None:
    found = versions({"rollout": {"analysis": {"videos": 3}}, "image": {"name": "longtake:2"}}, {})
    *others, job = found.objects("Analysing", "c")
    assert job["kind"] == "Job"
    assert others == found.objects("Held", "c")
    assert "Job" not in {child["kind"] for state in AFTER for child in found.objects(state, "c")}
    assert found.serving("Analysing").image.name == "longtake:1"


AFTER: tuple[State, ...] = ("Held", "StagesStarting", "FrontDoorsRolling", "Complete", "RolledBack")


def test_it_is_looked_at_while_time_decides_and_not_at_rest() -> None:
    begun, back = walked(seen(0), seen(1801))
    assert look_again_s(begun, Rollout(), NOW) < READY_S
    assert look_again_s(back, Rollout(), NOW) == float("inf")
    assert look_again_s(RolloutStatus(state="Complete"), Rollout(), NOW) == float("inf")


def versions(wanted: dict[str, Any], stable: dict[str, Any]) -> Versions:
    return Versions(OWNER, spec(**KEYS, **wanted), spec(**KEYS, **stable))


def applications(objects: list[dict[str, Any]]) -> dict[str, Any]:
    return {one["name"]: one for one in yaml.safe_load(objects[0]["spec"]["serveConfigV2"])["applications"]}


def door_model(objects: list[dict[str, Any]]) -> str:
    (door,) = (child for child in objects if child["kind"] == "Deployment")
    variables = door["spec"]["template"]["spec"]["containers"][0]["env"]
    return str(next(one["value"] for one in variables if one["name"] == "LONGTAKE_MODEL"))


def test_a_new_model_starts_beside_the_old_one_which_is_not_touched_until_it_serves() -> None:
    scale = {"denoisers": {"min": 1, "max": 2}, "light": {"replicas": 2}}
    change = versions(
        {"model": "wan", "denoisers": {"min": 2, "max": 4}},
        {**scale, "settings": {"models": {"sprite-2": {"engine_threads": 3}}}},
    )
    before = applications(change.objects("RolledBack", ""))
    both = applications(change.objects("StagesStarting", ""))

    assert set(both) == {"longtake", "longtake-sprite-2", "longtake-wan"}
    assert both["longtake-sprite-2"] == before["longtake-sprite-2"]
    assert change.fresh("StagesStarting") == {"longtake-wan"}
    assert not change.fresh("Complete")
    states: tuple[State, ...] = ("Held", "StagesStarting", "FrontDoorsRolling", "Complete")
    assert [door_model(change.objects(state, "")) for state in states] == ["sprite-2", "sprite-2", "wan", "wan"]
    assert set(applications(change.objects("Complete", ""))) == {"longtake", "longtake-wan"}
    assert change.objects("Held", "") == change.objects("RolledBack", "")


@pytest.mark.parametrize(
    ("wanted", "state", "replaced"),
    [("wan", "Complete", True), ("wan", "RolledBack", False), ("sprite-2", "Complete", False)],
)
def test_pods_of_a_model_that_was_replaced_are_those_that_go(wanted: str, state: State, replaced: bool) -> None:
    assert versions({"model": wanted}, {"model": "sprite-2"}).replaced(state) == replaced


def test_what_takes_another_ray_cluster_serves_in_the_old_one() -> None:
    change = versions({"model": "wan", "image": {"name": "longtake:2"}}, {})
    assert set(applications(change.objects("StagesStarting", ""))) == {"longtake", "longtake-wan"}


def test_two_names_of_one_model_are_not_served_beside_each_other() -> None:
    change = versions({"model": "sprite"}, {"model": "sprite-2"})
    assert set(applications(change.objects("StagesStarting", ""))) == {"longtake", "longtake-sprite"}


def test_without_a_version_that_served_all_is_made_at_once_or_nothing() -> None:
    first = Versions(OWNER, spec(), None)
    assert first.objects("StagesStarting", "") == first.objects("Complete", "")
    assert first.objects("Held", "") == []


def test_a_change_of_front_doors_is_known_as_one() -> None:
    assert versions({"settings": {"admission": {"max_active_jobs": 7}}}, {}).same_stages
    assert not versions({"scaling": {"idleSeconds": 7}}, {}).same_stages
    image, ray = {"image": {"name": "longtake:2"}}, {"rayImage": "longtake-ray:1"}
    assert versions({**ray, **image}, ray).same_stages
    assert not versions(image, {}).same_stages, "it is the image of Ray's pods, too"


def build(name: str, told: dict[str, str], **parts: Any) -> dict[str, Any]:
    conditions = [
        {"type": type_, "status": "True", "reason": reason, "message": "it said so", "lastTransitionTime": "x"}
        for type_, reason in told.items()
    ]
    return {
        "metadata": {"name": name},
        "spec": build_spec(**parts).model_dump(by_alias=True, exclude_none=True),
        "status": {"conditions": conditions},
    }


@pytest.mark.parametrize(
    ("builds", "reason"),
    [
        ([], None),
        ([build("wan", {"Progressing": "Building"})], "EnginesBuilding"),
        ([build("wan", {"Ready": "Built"})], None),
        ([build("wan", {"Degraded": "InputRefused"})], "EngineBuildFailed"),
        ([build("wan", {"Degraded": "InputRefused"}), build("wan2", {"Ready": "Built"})], None),
        ([build("wan", {"Ready": "Built"}), build("wan2", {"Progressing": "Building"})], "EnginesBuilding"),
        ([build("wan", {}, store={"url": "s3://other/b/p", "credentials": {"existingSecret": "s3"}})], None),
        ([build("other", {}, model="other")], None),
    ],
)
def test_a_change_waits_for_the_engines_of_its_models(builds: list[dict[str, Any]], reason: str | None) -> None:
    found = engines_awaited("s3://minio:9000/longtake/main", (Making("sprite-2"), Making("wan-1.3b", builds)))
    assert (found and found.reason) == reason
    if found is not None and found.failing:
        assert "it said so" in found.message


def model(told: dict[str, str], generation: int = 1, **parts: Any) -> dict[str, Any]:
    conditions = [
        {"type": type_, "status": status, "reason": "x", "message": "it said so", "lastTransitionTime": "x"}
        for type_, status in told.items()
    ]
    return {
        "metadata": {"name": "wan-1.3b", "generation": generation},
        "spec": model_spec(**parts).model_dump(by_alias=True, exclude_none=True),
        "status": {"observedGeneration": 1, "conditions": conditions},
    }


DONE = {"EnginesReady": "True", "Degraded": "False"}


@pytest.mark.parametrize(
    ("models", "reason"),
    [
        ([model(DONE)], None),
        ([model({})], "EnginesBuilding"),
        ([model(DONE, generation=2)], "EnginesBuilding"),
        ([model({"Ready": "True", "EnginesReady": "False", "Degraded": "False"})], "EnginesBuilding"),
        ([model({"Ready": "True", "EnginesReady": "False", "Degraded": "True"})], "ModelFailed"),
        ([model({}, model="wan-2")], None),
        ([model({}, store={"url": "s3://other/b/p", "credentials": {"existingSecret": "s3"}})], None),
    ],
)
def test_a_change_waits_for_all_engines_of_a_video_model(models: list[dict[str, Any]], reason: str | None) -> None:
    making = (Making("sprite-2"), Making("wan-1.3b", models=models))
    found = engines_awaited("s3://minio:9000/longtake/main", making)
    assert (found and found.reason, bool(found and found.failing)) == (reason, reason == "ModelFailed")


def test_what_ray_gave_up_is_deployed_anew_after_a_while_and_again_and_nothing_else_is() -> None:
    seen_first = redeployed(Redeploys(), {"longtake-wan"}, NOW)
    assert redeployed(seen_first, {"longtake-wan"}, NOW + PAUSE / 2) == seen_first
    once = redeployed(seen_first, {"longtake-wan"}, NOW + PAUSE)
    looks = [redeploys_again_s(seen_first, NOW + late) for late in (PAUSE / 2, PAUSE)]
    assert (looks, redeploys_again_s(Redeploys(), NOW)) == ([150, 10], inf)
    assert (seen_first.generations, once.generations) == ({}, {"longtake-wan": 1})

    starts = redeployed(once, set(), NOW + PAUSE)
    assert (starts.generations, starts.since) == ({"longtake-wan": 1}, "")
    both = {"longtake-wan", "longtake-sprite-2"}
    again = redeployed(redeployed(starts, both, NOW + 2 * PAUSE), both, NOW + 3 * PAUSE)
    assert again.generations == {"longtake-wan": 2, "longtake-sprite-2": 1}


def test_a_generation_changes_its_own_application_and_no_other_child() -> None:
    one, two = (Versions(OWNER, spec(), None, generations) for generations in ({}, {"longtake-sprite-2": 1}))
    before, after = one.objects("Complete", ""), two.objects("Complete", "")
    assert before[1:] == after[1:]
    changed = [name for name, one in applications(before).items() if one != applications(after)[name]]
    assert changed == ["longtake-sprite-2"]
