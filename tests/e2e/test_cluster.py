"""The life of a release on a real cluster, one test after the other: it comes, makes videos, grows, is struck and
changed while clients work, scales, and goes. `make e2e` runs it; each test stands on those before it.
"""

from __future__ import annotations

import copy
import re
import time
from typing import Any

import pytest

from loadtests.kills.parts import Part
from loadtests.table import Row
from operators.api.base import API_VERSION
from operators.children.names import FRONT_DOOR
from serving.client import CallFailed, Client, Video, create_request
from serving.deployments.declared import APPLICATION, application_of
from serving.jobs.record import JobState
from tests.e2e.checkpoint import in_bucket
from tests.e2e.given import Given
from tests.e2e.load import MODEL, Load, load_record, one_round
from tests.e2e.node import Node
from tests.e2e.release import NAME, PARTS, TENANTS, Release, image

pytestmark = pytest.mark.timeout(3600)
HALF, ADDED = "wan-half", "wan-tiny"
"""What a build alone makes, and what a VideoModel brings."""
DRAIN_S = 120
"""What runs may take to end, when the release goes."""
BAD = {"a model that the store lacks": "'wan-gone' is not known", "an image that is not there": "ImagePull"}
"""Versions that do not get ready, and what is said of them."""
Report = list[Row]


def test_the_chart_brings_a_service_that_is_ready(release: Release, report: Report) -> None:
    began = time.monotonic()

    release.apply()
    release.until("it is ready", release.settled)

    report.append(_row("`helm install`, until it is ready", time.monotonic() - began))
    assert {part: len(release.pods(selector)) for part, selector in PARTS.items()} == {
        "a Denoiser": 1,
        "the light stages": 1,
        "a front door": 2,
        "the operator": 1,
        "Ray's head": 1,
    }


def test_helms_own_test_makes_a_video(release: Release, report: Report) -> None:
    began = time.monotonic()

    release.helm("test", NAME, "--timeout", "15m")

    report.append(_row("`helm test`, a video of a second and its pod", time.monotonic() - began))


def test_a_setting_of_front_doors_leaves_ray_alone(release: Release, report: Report) -> None:
    generation = release.found("ray.io/v1", "RayService")["metadata"]["generation"]
    doors = set(release.pods(PARTS["a front door"]))
    began = time.monotonic()

    release.values["service"]["frontDoor"]["publicUrl"] = release.public_url()
    release.apply()
    release.until(
        "front doors have rolled", lambda: release.settled() and not doors & set(release.pods(PARTS["a front door"]))
    )

    report.append(_row("a setting of front doors, until both have rolled", time.monotonic() - began))
    assert release.found("ray.io/v1", "RayService")["metadata"]["generation"] == generation


def test_the_public_client_makes_extends_and_shows_pictures(release: Release, report: Report) -> None:
    made = one_round(release.address(), release.keys[TENANTS[1]], release.folder)

    assert [(video["kind"], video["duration"]) for video in made] == [("text", 2), ("extension", 1), ("reference", 1)]
    for part in ("a front door", "Ray's head"):
        assert made[0]["id"] in release.logs(part), f"the log of {part} tells nothing of a job"
    for video in made:
        report.append(_row(f"xai-sdk: {video['kind']}, {video['duration']} s", video["ended"] - video["asked"]))


def test_an_engine_build_of_half_precision_runs_to_its_end(
    release: Release, what_is_given: Given, report: Report
) -> None:
    _needs_torch(what_is_given)
    source = in_bucket(release.store, release.folder)
    release.make("EngineBuild", HALF, model=HALF, source=source, precision="dit=fp16", **_built_with(what_is_given))

    took = release.until("it is built", lambda: _told(release, "EngineBuild", HALF, "Ready"))

    report.append(_row("EngineBuild of a tiny Wan checkpoint with `precision: dit=fp16`, to its end", took))
    variants = release.found(API_VERSION, "EngineBuild", HALF)["status"]["report"]["variants"]
    assert any("fp16" in variant["name"] and variant["verified"] for variant in variants), variants
    release.kubectl("delete", "enginebuild", HALF)


def test_two_clients_work(release: Release, load: Load, report: Report) -> None:
    release.until("both clients make videos", lambda: all(len(waits) >= 4 for waits in load.waits()))

    report.append(_row("a video while two clients work, undisturbed (median)", load.usual()))


def test_a_second_model_comes_and_goes_beside_the_first_ones_work(
    release: Release, what_is_given: Given, load: Load, report: Report
) -> None:
    _needs_torch(what_is_given)
    first, cluster = _untouched(release), release.active_cluster()
    began = time.monotonic()

    source = {"uri": in_bucket(release.store, release.folder)}
    release.make("VideoModel", ADDED, source=source, deletionPolicy="Delete", **_built_with(what_is_given))
    report.append(_row("a VideoModel, until its engines are built and it is served", _serve(release, ADDED)))
    assert _told(release, "VideoModel", ADDED, "EnginesReady")
    assert _make(release, ADDED).state == Video.SUCCEEDED
    report.append(_row("the same, until it is served no more", _serve(release)))
    gone = time.monotonic()
    release.kubectl("delete", "videomodel", ADDED)
    report.append(_row("and until it is out of the store", time.monotonic() - gone))

    report.append(_row("the longest that a client waited meanwhile", load.longest_since(began)))
    with pytest.raises(CallFailed, match=ADDED):
        _make(release, ADDED)
    assert (_untouched(release), release.active_cluster()) == (first, cluster)


@pytest.mark.parametrize("part", PARTS)
def test_a_pod_is_killed_under_load(release: Release, load: Load, report: Report, part: str) -> None:
    before = release.pods(PARTS[part])
    victim = next(iter(before))
    struck = time.monotonic()

    release.kill(victim)
    if part == "the operator":  # nothing stops; what differs waits for the next one
        release.kubectl("delete", "poddisruptionbudget", f"{NAME}-{FRONT_DOOR}")

    def whole() -> bool:
        pods = release.pods(PARTS[part])
        there = victim not in pods and sum(pods.values()) >= len(before) and release.settled()
        return there and release.has("policy/v1", "PodDisruptionBudget", f"{NAME}-{FRONT_DOOR}")

    ready = release.until(f"{part} is back", whole)
    release.until("videos come", lambda: load.back_since(struck) is not None)
    report.append(Row("cluster", f"{part} killed", f"{ready:.0f} s until ready", ratio=_waits(load, struck, struck)))


def test_a_version_that_makes_videos_otherwise_never_serves(
    release: Release, what_is_given: Given, load: Load, report: Report
) -> None:
    if not what_is_given.other_ray_image:
        pytest.skip("E2E_OTHER_RAY_IMAGE names no image whose engines compute otherwise: tests/e2e/otherwise makes one")
    good, began = copy.deepcopy(release.values), time.monotonic()
    first, generation = _untouched(release), release.found("ray.io/v1", "RayService")["metadata"]["generation"]

    release.values["service"]["rollout"] = {"analysis": {"videos": 2}}
    release.values["rayImage"] = image(what_is_given.other_ray_image)
    release.apply()
    back = release.until("it is taken back", lambda: release.rollout()["state"] == "RolledBack")

    message = release.rollout()["message"]
    assert "a finished video came out otherwise" in message, message
    release.until("it is told of", lambda: message in release.events("ProgressDeadlineExceeded"))
    assert (_untouched(release), release.found("ray.io/v1", "RayService")["metadata"]["generation"]) == (
        first,
        generation,
    )
    waits = (
        f"{load.ended_between(began, time.monotonic())} videos meanwhile, {load.longest_since(began):.0f} s the longest"
    )
    report.append(
        Row("cluster", "an image whose engines compute otherwise, until it is taken back", f"{back:.0f} s", ratio=waits)
    )

    release.values = good
    release.values["service"]["rollout"] = {"analysis": {"videos": 2}}
    release.values["service"]["scaling"]["downDelaySeconds"] += 1
    release.apply()
    took = release.until(
        "the mended one serves", lambda: release.settled() and release.rollout()["state"] == "Complete"
    )

    told = release.rollout()["analysis"]
    assert "2 replayed" in told, told
    report.append(_row("a change whose replay comes out as it should, until it serves", took))
    release.values["service"].pop("rollout")
    release.apply()


@pytest.mark.parametrize(("what", "said"), BAD.items())
def test_a_version_that_does_not_get_ready_is_taken_back_under_load(
    release: Release, load: Load, report: Report, what: str, said: str
) -> None:
    good, cluster, began = copy.deepcopy(release.values), release.active_cluster(), time.monotonic()
    told = len(release.events("ProgressDeadlineExceeded"))

    release.values["service"]["rollout"] = {"progressDeadlineSeconds": 60}
    if what == "a model that the store lacks":
        release.values["service"]["model"] = "wan-gone"
    else:
        release.values["image"]["tag"] = "gone"
    release.apply()
    back = release.until("it is taken back", lambda: release.rollout()["state"] == "RolledBack")

    message = release.rollout()["message"]
    assert re.search(said, message), message
    settled = release.until("what served before is whole", lambda: release.whole(told + 1))
    assert message in release.events("ProgressDeadlineExceeded")
    assert release.active_cluster() == cluster
    meanwhile = load.ended_between(began, time.monotonic())
    waits = (
        f"whole {settled:.0f} s later; {meanwhile} videos meanwhile, {load.longest_since(began):.0f} s the longest wait"
    )
    report.append(Row("cluster", f"{what}, until it is taken back", f"{back:.0f} s", ratio=waits))
    assert meanwhile > 0

    release.values = good
    release.apply()
    release.until("the mended one serves", lambda: release.settled() and release.rollout()["state"] == "Complete")
    assert release.active_cluster() == cluster


def test_two_pods_of_each_part_are_on_two_nodes(release: Release, what_is_given: Given, load: Load) -> None:
    node = _node(release, what_is_given)
    release.values["service"]["denoisers"] |= {"min": 2, "max": 2}
    release.values["service"]["light"]["replicas"] = 2
    release.apply()
    release.until("there are two", lambda: release.settled() and _count(release) == (2, 2, 2))

    for part in ("a Denoiser", "the light stages", "a front door"):
        node.have(part, 1)


@pytest.mark.parametrize("head", [False, True], ids=["without Ray's head", "with Ray's head"])
def test_a_node_is_cut_off_under_load_and_comes_back(
    release: Release, what_is_given: Given, load: Load, report: Report, head: bool
) -> None:
    node = _node(release, what_is_given)
    node.have("Ray's head", int(head))
    lost = {pod for part in PARTS for pod in node.pods(part)}
    epoch, struck = load.epoch(), time.monotonic()

    node.down()
    try:
        release.until("videos come", lambda: load.back_since(struck) is not None)
        waits = _waits(load, struck, struck)
        release.until("the API server misses it", lambda: not node.ready())
        release.until("its pods are given up", node.left)
        release.until("all is made elsewhere", lambda: release.settled() and _count(release) == (2, 2, 2))
        whole = time.monotonic() - struck
    finally:
        node.up()
    name = "a node cut off, with Ray's head" if head else "a node cut off"
    report.append(Row("cluster", name, f"{whole:.0f} s until all is elsewhere", ratio=waits))

    back, now = time.monotonic(), load.epoch()
    release.until("it is back", lambda: node.ready() and not lost & {pod for part in PARTS for pod in node.pods(part)})
    release.until("videos come", lambda: load.back_since(back) is not None)
    report.append(Row("cluster", "and it is back", "", ratio=_waits(load, back, back)))
    assert (now > epoch) == head, "a new head has a new Director, and nothing else has"
    assert load.epoch() == now, "the Director that was cut off takes nothing back"


def test_an_upgrade_takes_over_from_a_cluster_that_works(release: Release, load: Load, report: Report) -> None:
    before, began = release.active_cluster(), time.monotonic()

    release.values["service"]["denoisers"] |= {"min": 0, "max": 2}  # from a number to a range: a new cluster
    release.apply()
    took = release.until("the new cluster serves", lambda: release.settled() and release.active_cluster() != before)

    meanwhile = load.ended_between(began, began + took)
    release.until("videos come", lambda: load.back_since(began + took) is not None)
    waits = f"{meanwhile} videos meanwhile; then {_waits(load, began + took, began)}"
    report.append(Row("cluster", "`helm upgrade` to a new cluster", f"{took:.0f} s until it serves", ratio=waits))
    assert meanwhile > 0


def test_nothing_was_lost_made_twice_or_refused(load: Load, report: Report) -> None:
    load.end()
    found = load.verified()

    report.append(Row("cluster", "videos that were asked for meanwhile", f"{found.jobs}"))
    report.append(Row("cluster", "of these lost, not made, or met by an internal error", f"{_lacking(found)}", aim="0"))
    report.append(Row("cluster", "made twice, or different from undisturbed ones", f"{len(found.different)}", aim="0"))
    report.append(Row("cluster", "failures that clients saw", f"{found.failures.total()}", aim="0"))
    report.append(Row("cluster", "reconnects that our client made", f"{found.reconnects}"))
    assert found.good, found


def test_denoisers_go_to_none_and_come_for_the_next_job(release: Release, report: Report) -> None:
    report.append(
        _row(
            "no work, until no Denoiser is there", release.until("none", lambda: not release.pods(PARTS["a Denoiser"]))
        )
    )
    began = time.monotonic()

    assert _make(release, MODEL).state == Video.SUCCEEDED

    report.append(_row("from none: the next video of a second", time.monotonic() - began))


def test_nothing_is_left_of_it(release: Release, report: Report) -> None:
    release.values["service"]["drain"] = {"timeoutSeconds": DRAIN_S}
    release.apply()
    release.until("it would drain", lambda: release.service()["metadata"].get("finalizers"))
    with Client(release.address(), api_key=release.keys[TENANTS[2]]) as client:
        made = client.create(create_request("a red cat runs far", seconds=10, aspect_ratio="1:1", model=MODEL))
        release.until("it runs", lambda: client.get(made.id).state == Video.RUNNING)
    began = time.monotonic()

    release.helm("uninstall", NAME, "--wait", "--timeout", "10m")
    assert load_record(release.store, TENANTS[2], made.id).state is JobState.SUCCEEDED, "it was let end"
    release.until("it is gone", lambda: release.left() <= release.before)

    report.append(_row("`helm uninstall`, until nothing is left", time.monotonic() - began))
    assert not release.kubectl("get", "clusterrole", f"{release.namespace}-{NAME}-operator", "--ignore-not-found")


def _row(what: str, seconds: float) -> Row:
    return Row("cluster", what, _seconds(seconds))


def _node(release: Release, given: Given) -> Node:
    """The one that is cut off."""
    if not given.node:
        pytest.skip("E2E_NODE, E2E_NODE_DOWN and E2E_NODE_UP name no node that is cut off")
    return Node(release, given)


def _count(release: Release) -> tuple[int, ...]:
    """Denoisers, light stages and front doors that are ready."""
    parts = ("a Denoiser", "the light stages", "a front door")
    return tuple(sum(release.pods(PARTS[part]).values()) for part in parts)


def _needs_torch(given: Given) -> None:
    if not given.build_image:
        pytest.skip(
            "E2E_BUILD_IMAGE names no image with torch, to add a model: EXTRAS=build helm/images/build makes one"
        )


def _seconds(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds > 10 else f"{seconds:.1f} s"


def _waits(load: Load, since: float, whole: float) -> str:
    return f"{load.back_since(since):.0f} s to the next videos, {load.longest_since(whole):.0f} s the longest wait"


def _serve(release: Release, *models: str) -> float:
    """Have these models beside the one that is always served; how long that took, to the last of their processes."""
    had = release.values["service"]["settings"].get("models", {})
    began = time.monotonic()
    release.values["service"]["settings"] = {"models": {model: {} for model in models}} if models else {}
    release.apply()
    release.until(f"{models} are served", release.settled)
    gone = {application_of(model) for model in had}
    release.until(f"{had} are gone", lambda: not any(release.replicas(application) for application in gone))
    return time.monotonic() - began


def _make(release: Release, model: str) -> Video:
    """A video of a second."""
    with Client(release.address(), api_key=release.keys[TENANTS[2]]) as client:
        made = client.create(create_request("a red cat runs", seconds=1, aspect_ratio="1:1", model=model))
        return client.wait(made.id, timeout_s=1800)


def _built_with(given: Given) -> dict[str, Any]:
    """What a build and a VideoModel of the tiny checkpoint have in common, beside what the service has, too."""
    return {
        "canvases": ["1:1=32x32"],
        "seconds": 1,
        "image": {"name": given.build_image},
        "signingKeySecret": "engine-signing",
        "resources": {"requests": {"cpu": "100m", "memory": "1Gi"}, "limits": {"memory": "6Gi"}},
    }


def _told(release: Release, kind: str, name: str, condition: str) -> bool:
    """Whether this condition of it is true. Fails where what was asked for has failed."""
    status = release.found(API_VERSION, kind, name).get("status", {})
    told = {one["type"]: one for one in status.get("conditions", ())}
    assert told.get("Degraded", {}).get("status") != "True", told
    return bool(told.get(condition, {}).get("status") == "True")


def _untouched(release: Release) -> set[tuple[str, str, str]]:
    """The Director's process, and those of the first model."""
    return release.replicas(APPLICATION) | release.replicas(application_of(MODEL))


def _lacking(found: Part) -> int:
    return len(found.lost) + len(found.not_made) + len(found.faults)
