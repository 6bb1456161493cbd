"""A change whose new version makes finished videos again first, on a real API server."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from tests import kubernetes
from tests.integration.kube import Kube
from tests.integration.rollouts import OLD, Clock, first_version, how, look_killed_at_each_call, with_our_clock

pytestmark = [
    pytest.mark.skipif(bool(kubernetes.missing()), reason=f"not on the PATH: {', '.join(kubernetes.missing())}"),
    pytest.mark.filterwarnings("ignore:Unverified HTTPS request"),
    pytest.mark.xdist_group("kubernetes"),
]
ANALYSED: dict[str, Any] = {**OLD, "image": {"name": "longtake:2"}, "rollout": {"analysis": {"videos": 3}}}


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return with_our_clock(monkeypatch)


@pytest.fixture
def cluster(server: kubernetes.ApiServer, clock: Clock) -> Kube:
    return first_version(server)


def replay(cluster: Kube) -> dict[str, Any]:
    """The Job that is there."""
    (found,) = cluster.find("batch/v1", "Job", cluster.namespace, "")
    return found


def ends(cluster: Kube, last: str, code: int, *, tried: int = 1) -> None:
    """A kubelet brings the replay's pod to its end, and the Job's controller the Job, unless that tries again; `tried`:
    which try it was."""
    ended = {"exitCode": code, "message": last, "finishedAt": "2026-01-01T00:00:00Z"}
    state = {"name": "replay", "state": {"terminated": ended}, "ready": False, "restartCount": 0}
    state |= {"image": "longtake:2", "imageID": "longtake:2"}
    label = {"app.kubernetes.io/component": "replay"}
    cluster.pod(f"lt-replay-{code}-{tried}", label, phase="Failed" if code else "Succeeded", containerStatuses=[state])
    if code not in (0, 1):
        return
    at = "2026-01-01T00:00:00Z"
    types = ("FailureTarget", "Failed") if code else ("SuccessCriteriaMet", "Complete")
    reason = "PodFailurePolicy" if code else "CompletionsReached"
    told = [{"type": one, "status": "True", "reason": reason, "lastTransitionTime": at} for one in types]
    done = {} if code else {"completionTime": at}
    cluster.tell(replay(cluster), startTime=at, conditions=told, **done)


def test_a_version_makes_videos_again_before_anything_of_it_serves(cluster: Kube) -> None:
    before = cluster.live("ray.io/v1", "RayService")["spec"]
    cluster.serve(**ANALYSED)
    cluster.look()
    assert how(cluster)["state"] == "Analysing"
    assert cluster.live("ray.io/v1", "RayService")["spec"] == before
    assert replay(cluster)["spec"]["template"]["spec"]["containers"][0]["image"] == "longtake:2"
    cluster.look()

    at_rest = cluster.versions()
    cluster.look()
    assert cluster.versions() == at_rest
    ends(cluster, "3 replayed, all 15 digests are equal", 0)
    cluster.look()
    found = how(cluster)
    assert (found["state"], found["analysis"]) == ("StagesStarting", "3 replayed, all 15 digests are equal")
    assert cluster.live("ray.io/v1", "RayService")["spec"] != before
    cluster.look()
    assert cluster.find("batch/v1", "Job", cluster.namespace, "") == []


def test_a_replay_that_cannot_run_is_waited_for_until_the_deadline(cluster: Kube, clock: Clock) -> None:
    cluster.serve(**ANALYSED)
    cluster.look()
    ends(cluster, "error: the store does not answer", 4)
    told = cluster.look()
    assert (how(cluster)["state"], told["Degraded"]["status"]) == ("Analysing", "False")
    assert "the store does not answer" in told["Progressing"]["message"]

    clock.later = timedelta(seconds=1900)
    cluster.look()
    assert (how(cluster)["state"], "the store does not answer" in how(cluster)["message"]) == ("RolledBack", True)
    events = [event["message"] for event in cluster.told()]
    assert how(cluster)["message"] in events


def test_a_replay_that_cannot_be_judged_is_tried_again_and_then_taken_back_and_not_as_a_difference(
    cluster: Kube,
) -> None:
    before = cluster.live("ray.io/v1", "RayService")["spec"]
    cluster.serve(**ANALYSED)
    cluster.look()
    for tried in (1, 2):
        ends(cluster, "error: could not be judged: ZeroDivisionError: oh", 5, tried=tried)
        told = cluster.look()
        assert (how(cluster)["state"], told["Degraded"]["status"]) == ("Analysing", "False")
        assert "could not be replayed yet: ZeroDivisionError: oh" in told["Progressing"]["message"]

    ends(cluster, "error: could not be judged: ZeroDivisionError: oh", 5, tried=3)
    told = cluster.look()
    assert how(cluster)["state"] == "RolledBack"
    for said in (how(cluster)["message"], told["Degraded"]["message"]):
        assert "taken back (finished videos could not be judged)" in said
        assert "could not be judged, 3 times: ZeroDivisionError: oh" in said
        assert "otherwise" not in said
    assert cluster.live("ray.io/v1", "RayService")["spec"] == before


def test_a_version_that_makes_a_video_otherwise_is_taken_back_in_the_replays_words(
    cluster: Kube, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And so it is where the operator is killed before any call of that look."""
    before = cluster.live("ray.io/v1", "RayService")["spec"]
    cluster.serve(**ANALYSED)
    cluster.look()
    ends(cluster, "error: 1 of 3 videos came out otherwise; vid_a: segment 0: latents differs first", 1)
    assert look_killed_at_each_call(cluster, monkeypatch) > 10
    told = cluster.look()
    events = [event["message"] for event in cluster.told()]
    assert events.count(how(cluster)["message"]) == 1, "neither lost nor told twice"

    said = "The replay said: 1 of 3 videos came out otherwise; vid_a: segment 0: latents differs first"
    assert how(cluster)["state"] == "RolledBack"
    assert said in how(cluster)["message"]
    assert said in told["Degraded"]["message"]
    assert cluster.live("ray.io/v1", "RayService")["spec"] == before
    assert (cluster.find("batch/v1", "Job", cluster.namespace, ""), told["Ready"]["status"]) == ([], "True")

    at_rest = cluster.versions()
    cluster.look()
    assert cluster.versions() == at_rest, "it is not tried again by itself"
    cluster.serve(**{**ANALYSED, "rollout": {"analysis": {"videos": 0}}})
    cluster.look()
    assert how(cluster)["state"] == "StagesStarting"
