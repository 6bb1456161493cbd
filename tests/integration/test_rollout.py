"""A change of a service on a real API server: begun, taken back where it does not get ready, and begun anew."""

from __future__ import annotations

import secrets
from datetime import datetime, timedelta
from typing import Any

import pytest
import yaml
from kubernetes.client.exceptions import ApiException

from operators import gather
from operators.api.base import API_VERSION
from operators.metrics import TAKEN_BACK
from operators.policies import rollout
from operators.reconcile import reconcile
from tests import kubernetes
from tests.integration.kube import Kube
from tests.integration.test_engine_build import SPEC as BUILD

pytestmark = [
    pytest.mark.skipif(bool(kubernetes.missing()), reason=f"not on the PATH: {', '.join(kubernetes.missing())}"),
    pytest.mark.filterwarnings("ignore:Unverified HTTPS request"),
    pytest.mark.xdist_group("kubernetes"),
]
WAN: dict[str, Any] = {"model": "wan-1.3b", "trustedKeys": {"configMap": "engine-keys"}}
UNFIT = {"keysSecret": "keys", "nodeSelector": {"pool": "no label!"}}
OLD: dict[str, Any] = {"trustedKeys": {"configMap": "engine-keys"}}


class Clock:
    """Time that passes when a test says so."""

    def __init__(self) -> None:
        self.later = timedelta()

    def now(self, zone: Any) -> datetime:
        return datetime.now(zone) + self.later


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(gather, "datetime", found)
    monkeypatch.setattr(rollout, "READY_S", 0.0)
    return found


@pytest.fixture
def cluster(server: kubernetes.ApiServer, clock: Clock) -> Kube:
    """Where the first version has come to serve."""
    kube = Kube(server, f"r-{secrets.token_hex(4)}")
    kube.serve(**OLD)
    kube.look()
    kube.serving()
    kube.look()
    kube.look()  # the Director's Service
    assert how(kube)["state"] == "Complete"
    return kube


def how(cluster: Kube) -> dict[str, Any]:
    found: dict[str, Any] = cluster.live(API_VERSION, "VideoService")["status"]["rollout"]
    return found


def models(cluster: Kube) -> set[str]:
    """Whose stages Ray is told to run."""
    config = yaml.safe_load(cluster.live("ray.io/v1", "RayService")["spec"]["serveConfigV2"])
    return {one["name"].removeprefix("longtake-") for one in config["applications"]} - {"longtake"}


def offered(cluster: Kube) -> str:
    """What front doors offer by default."""
    pod = cluster.live("apps/v1", "Deployment", "lt-frontdoor")["spec"]["template"]["spec"]["containers"][0]
    return str(next(one["value"] for one in pod["env"] if one["name"] == "LONGTAKE_MODEL"))


def counted_as_taken_back(cluster: Kube) -> float:
    (metric,) = TAKEN_BACK.collect()
    (found,) = [sample.value for sample in metric.samples if sample.labels["namespace"] == cluster.namespace]
    return found


def revisions(cluster: Kube) -> list[str]:
    return [one["metadata"]["name"] for one in cluster.find("apps/v1", "ControllerRevision", cluster.namespace, "")]


def test_a_model_that_gets_ready_takes_over_step_by_step(cluster: Kube) -> None:
    (first,) = revisions(cluster)
    cluster.serve(**WAN)
    told = cluster.look()
    assert (told["Ready"]["status"], told["Progressing"]["status"]) == ("True", "True")
    assert (models(cluster), offered(cluster)) == ({"sprite-2", "wan-1.3b"}, "sprite-2")

    cluster.serving()
    told = cluster.look()
    assert (how(cluster)["state"], offered(cluster)) == ("FrontDoorsRolling", "wan-1.3b")
    assert told["Progressing"]["status"] == "True"
    assert models(cluster) == {"sprite-2", "wan-1.3b"}

    cluster.serving()
    cluster.look()
    assert (how(cluster)["state"], models(cluster)) == ("Complete", {"wan-1.3b"})
    assert cluster.live(API_VERSION, "VideoService")["status"]["model"] == "wan-1.3b"
    (second,) = revisions(cluster)
    assert (how(cluster)["fromRevision"], how(cluster)["toRevision"]) == (first, second)

    cluster.serving()
    assert cluster.look()["Progressing"]["status"] == "False"
    at_rest = cluster.versions()
    cluster.look()
    assert cluster.versions() == at_rest


def test_a_version_that_does_not_get_ready_is_taken_back_and_a_mended_one_begins_anew(
    cluster: Kube, clock: Clock
) -> None:
    before = cluster.live("ray.io/v1", "RayService")["spec"]
    first = how(cluster)["toRevision"]
    cluster.serve(**WAN)
    cluster.look()
    cluster.serving(**{"wan-1.3b": "DEPLOYING"})
    told = cluster.look()
    assert (told["Ready"]["status"], told["Progressing"]["status"]) == ("True", "True")

    clock.later = timedelta(seconds=1900)
    told = cluster.look()
    assert cluster.live("ray.io/v1", "RayService")["spec"] == before
    assert offered(cluster) == "sprite-2"
    cluster.serving()
    told = cluster.look()
    assert told["Ready"]["status"] == "True"
    for type_, status in (("Progressing", "False"), ("Degraded", "True")):
        assert (told[type_]["status"], told[type_]["reason"]) == (status, "ProgressDeadlineExceeded")
    for part in ("not ready after 1800 s", "Ray's application longtake-wan-1.3b is DEPLOYING", "tries again"):
        assert part in told["Degraded"]["message"]
    assert (how(cluster)["state"], how(cluster)["fromRevision"]) == ("RolledBack", first)
    assert counted_as_taken_back(cluster) == 1
    assert cluster.live(API_VERSION, "VideoService")["status"]["model"] == "sprite-2"
    events = [event["reason"] for event in cluster.told()]
    assert events.count("ProgressDeadlineExceeded") == 1

    clock.later += timedelta(days=1)
    at_rest = cluster.versions()
    cluster.known.clear()  # as after a restart
    cluster.look()
    assert cluster.versions() == at_rest, "it is not tried again by itself"

    cluster.serve(**WAN, rollout={"progressDeadlineSeconds": 3600})
    cluster.look()
    assert how(cluster)["state"] == "StagesStarting"
    assert counted_as_taken_back(cluster) == 0
    cluster.serve(**OLD)
    told = cluster.look()
    assert (how(cluster)["state"], told["Degraded"]["status"]) == ("Complete", "False")


def test_an_image_that_is_not_found_is_named_and_taken_back(cluster: Kube, clock: Clock) -> None:
    cluster.serve(**OLD, image={"name": "longtake:oops"})
    cluster.look()
    ray = cluster.live("ray.io/v1", "RayService")
    cluster.tell(
        ray,
        observedGeneration=ray["metadata"]["generation"],
        activeServiceStatus={"rayClusterName": "lt-abcde"},
        pendingServiceStatus={"rayClusterName": "lt-fghij"},
    )
    waiting = {"reason": "ImagePullBackOff", "message": "longtake:oops: not found"}
    container = {"name": "ray-head", "image": "longtake:oops", "imageID": "", "ready": False, "restartCount": 0}
    broken = {"containerStatuses": [{**container, "state": {"waiting": waiting}}]}
    cluster.pod("lt-fghij-head", {"ray.io/cluster": "lt-fghij", "ray.io/node-type": "head"}, **broken)
    told = cluster.look()
    assert (told["Ready"]["status"], told["Degraded"]["status"]) == ("True", "True")

    clock.later = timedelta(seconds=1900)
    cluster.look()
    assert "pod lt-fghij-head: ray-head: ImagePullBackOff: longtake:oops: not found" in how(cluster)["message"]
    ray = cluster.live("ray.io/v1", "RayService")
    head = ray["spec"]["rayClusterConfig"]["headGroupSpec"]
    assert head["template"]["spec"]["containers"][0]["image"] == "longtake:1"

    labels = {"ray.io/originated-from-cr-name": "lt"}
    for name in ("lt-abcde", "lt-klmno"):  # KubeRay builds another one of the old version
        made = cluster.object("ray.io/v1", "RayCluster", name, labels=labels)
        made["metadata"]["annotations"] = {"ray.io/hash-without-replicas-and-workers-to-delete": "old"}
        cluster.apply(made)
    served = ray["status"]["activeServiceStatus"]
    cluster.tell(ray, activeServiceStatus=served, pendingServiceStatus={"rayClusterName": "lt-klmno"})
    cluster.look()
    status = cluster.live("ray.io/v1", "RayService")["status"]
    assert (status["activeServiceStatus"], status["pendingServiceStatus"]) == (served, {})


def test_nothing_is_changed_before_the_engines_are_built(cluster: Kube, clock: Clock) -> None:
    before = cluster.live("ray.io/v1", "RayService")["spec"]
    cluster.apply(cluster.object(API_VERSION, "EngineBuild", "wan", spec=BUILD))
    cluster.serve(**WAN)
    told = cluster.look()
    assert (told["Ready"]["status"], told["Progressing"]["reason"]) == ("True", "EnginesBuilding")
    assert cluster.live("ray.io/v1", "RayService")["spec"] == before
    clock.later = timedelta(hours=9)
    cluster.look()
    assert how(cluster)["state"] == "Held"

    built = {
        "type": "Ready",
        "status": "True",
        "reason": "Built",
        "message": "",
        "observedGeneration": 1,
        "lastTransitionTime": "2026-11-28T00:00:00Z",
    }
    cluster.tell(cluster.live(API_VERSION, "EngineBuild", "wan"), conditions=[built])
    cluster.look()
    assert (how(cluster)["state"], models(cluster)) == ("StagesStarting", {"sprite-2", "wan-1.3b"})


def test_a_first_version_that_ray_gave_up_is_tried_again(server: kubernetes.ApiServer, clock: Clock) -> None:
    """As when its model comes into the store later."""
    cluster = Kube(server, f"r-{secrets.token_hex(4)}")
    cluster.serve()
    cluster.look()
    cluster.serving(**{"sprite-2": "DEPLOY_FAILED"})
    assert cluster.look()["Ready"]["reason"] == "StagesFailing"
    before = cluster.live("ray.io/v1", "RayService")["spec"]
    assert (again := reconcile(cluster, cluster.namespace, "lt", cluster.known)) is not None
    assert again < 60

    clock.later = timedelta(seconds=301)
    cluster.look()
    after = cluster.live("ray.io/v1", "RayService")["spec"]
    assert (before["rayClusterConfig"], before == after) == (after["rayClusterConfig"], False)
    cluster.serving()
    assert cluster.look()["Ready"]["status"] == "True"
    cluster.look()
    assert cluster.live("ray.io/v1", "RayService")["spec"] == after, "nothing is deployed once more"


def test_a_change_is_under_way_until_its_front_doors_have_followed(
    cluster: Kube, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though for a moment all looks settled: its stages are up, and have to be so for a while."""
    monkeypatch.setattr(rollout, "READY_S", 60.0)
    cluster.serve(**WAN)
    cluster.look()
    cluster.serving()
    told = cluster.look()
    assert (how(cluster)["state"], told["Progressing"]["status"]) == ("StagesStarting", "True")


def test_what_the_api_server_refuses_is_taken_back_with_its_words(cluster: Kube, clock: Clock) -> None:
    cluster.serve(**OLD, frontDoor=UNFIT)
    assert cluster.look()["Degraded"]["reason"] == "ApplyRefused"
    clock.later = timedelta(seconds=1900)
    cluster.look()
    assert (how(cluster)["state"], "the API server answered 4" in how(cluster)["message"]) == ("RolledBack", True)


def look_killed_at_each_call(cluster: Kube, monkeypatch: pytest.MonkeyPatch) -> int:
    """One look, killed before a call of it reaches the API server, one after the other; how many there are."""
    whole, calls, survived = cluster._call, 0, False
    while not survived:
        calls, made = calls + 1, 0

        def call(*arguments: Any, at: int = calls, **named: Any) -> Any:
            nonlocal made
            made += 1
            if made == at:
                raise InterruptedError
            return whole(*arguments, **named)

        monkeypatch.setattr(cluster, "_call", call)
        try:
            reconcile(cluster, cluster.namespace, "lt", {})
            survived = True
        except InterruptedError:
            pass
    monkeypatch.setattr(cluster, "_call", whole)
    return calls


def test_killed_at_any_call_of_a_change_it_ends_as_undisturbed(
    cluster: Kube, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.serve(**WAN)
    cluster.look()
    clock.later = timedelta(seconds=1900)
    assert look_killed_at_each_call(cluster, monkeypatch) > 15
    cluster.look()
    assert (how(cluster)["state"], models(cluster), len(revisions(cluster))) == ("RolledBack", {"sprite-2"}, 1)


ANALYSED: dict[str, Any] = {**OLD, "image": {"name": "longtake:2"}, "rollout": {"analysis": {"videos": 3}}}


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


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"analysis": {"videos": 101}}, "spec.rollout.analysis.videos"),
        ({"strategy": "Recreate"}, "spec.rollout.strategy"),
        ({"progressDeadlineSeconds": 5}, "spec.rollout.progressDeadlineSeconds"),
    ],
)
def test_a_wrong_rollout_is_refused(cluster: Kube, asked: dict[str, Any], said: str) -> None:
    with pytest.raises(ApiException) as refused:
        cluster.serve(rollout=asked)
    assert said in str(refused.value.body)
