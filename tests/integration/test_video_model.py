"""VideoModels on a real API server: bad ones are refused, builds come in their order, and what there is is told."""

from __future__ import annotations

import json
import secrets
from pathlib import Path
from typing import Any

import pytest
from kubernetes.client.exceptions import ApiException

from operators.api.base import API_VERSION
from operators.builds import reconcile_build
from operators.metrics import CALLS
from operators.models import reconcile_model
from tests import kubernetes
from tests.integration.kube import Kube, operator, until
from tests.integration.test_engine_build import SPEC as BUILD
from tests.integration.video_models import GPU, PINNED, SPEC, STYLE, ask, builds, built, finish, look, status

pytestmark = [
    pytest.mark.skipif(bool(kubernetes.missing()), reason=f"not on the PATH: {', '.join(kubernetes.missing())}"),
    pytest.mark.filterwarnings("ignore:Unverified HTTPS request"),
    pytest.mark.xdist_group("kubernetes"),
]


@pytest.fixture
def cluster(server: kubernetes.ApiServer) -> Kube:
    return Kube(server, f"m-{secrets.token_hex(4)}")


def test_from_nothing_to_all_engines_and_what_it_can_do(cluster: Kube) -> None:
    ask(cluster, model="wan-1.3b+style", adapters=[STYLE], builds=[GPU], precision="bf16", family="wan")
    assert look(cluster)["Progressing"]["status"] == "True"
    assert (builds(cluster), status(cluster)["engines"]) == (["wan-1.3b-add"], "0/3")

    built(cluster, "wan-1.3b-add")
    assert look(cluster)["Ready"]["status"] == "False", "the base alone is not the model"
    assert builds(cluster) == ["wan-1.3b-adapt", "wan-1.3b-add"]
    assert "report" not in status(cluster)

    built(cluster, "wan-1.3b-adapt")
    told = look(cluster)
    assert (told["Ready"]["status"], told["EnginesReady"]["status"]) == ("True", "False")
    assert builds(cluster) == ["wan-1.3b-ada", "wan-1.3b-adapt", "wan-1.3b-add"]

    built(cluster, "wan-1.3b-ada", variants=("onnxruntime-cpu", "tensorrt_rtx-sm89-bf16"))
    told = look(cluster)
    assert {name: one["status"] for name, one in told.items()} == {
        "Ready": "True",
        "EnginesReady": "True",
        "Progressing": "False",
        "Degraded": "False",
    }
    assert told["Ready"]["observedGeneration"] == 1
    assert told["EnginesReady"]["reason"] == "CompiledNotVerified"
    found = status(cluster)
    assert (found["model"], found["family"], found["engines"]) == ("wan-1.3b+style", "wan", "3/3")
    assert found["report"]["weightsDigest"] == "d" * 64
    assert [one["name"] for one in found["report"]["variants"]] == ["onnxruntime-cpu", "tensorrt_rtx-sm89-bf16"]
    assert found["report"]["capabilities"]["canvases"] == ["16:9=832x480"]
    events = [event["reason"] for event in cluster.told()]
    assert events.count("EnginesBuilding") >= 2


def test_the_operator_may_be_killed_after_any_call(cluster: Kube, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that begins anew finds where it was: each write is made once, whichever was the last before."""
    writes = ("apply", "delete", "create")
    left = 0

    class Killed(BaseException):
        pass

    def dying(name: str) -> None:
        real = getattr(Kube, name)

        def call(self: Kube, *arguments: Any, **named: Any) -> Any:
            nonlocal left
            answer = real(self, *arguments, **named)
            left -= 1
            if left == 0:
                raise Killed
            return answer

        monkeypatch.setattr(Kube, name, call)

    ask(cluster, builds=[GPU], deletionPolicy="Delete")
    for name in writes:
        dying(name)
    for step in ("", "wan-1.3b-add", "wan-1.3b-ada"):
        if step:
            left = 0
            built(cluster, step)
        for calls in (1, 2, 3):
            left = calls
            try:
                reconcile_model(cluster, cluster.namespace, "wan-1.3b", {})
            except Killed:
                continue
    left = 0
    assert look(cluster)["EnginesReady"]["status"] == "True"
    assert builds(cluster) == ["wan-1.3b-ada", "wan-1.3b-add"]


def test_at_rest_nothing_is_written(cluster: Kube) -> None:
    ask(cluster)
    look(cluster)
    built(cluster, "wan-1.3b-add")
    look(cluster)
    before = _writes(), cluster.live(API_VERSION, "VideoModel", "wan-1.3b")["metadata"]["resourceVersion"]
    look(cluster)
    after = _writes(), cluster.live(API_VERSION, "VideoModel", "wan-1.3b")["metadata"]["resourceVersion"]
    assert before == after


def test_a_build_that_failed_is_made_anew_when_the_spec_changes_and_what_is_built_stays(cluster: Kube) -> None:
    ask(cluster, builds=[GPU])
    look(cluster)
    built(cluster, "wan-1.3b-add")
    look(cluster)
    reconcile_build(cluster, cluster.namespace, "wan-1.3b-ada", {})
    finish(cluster, "wan-1.3b-ada-build", "BackoffLimitExceeded")
    reconcile_build(cluster, cluster.namespace, "wan-1.3b-ada", {})
    told = look(cluster)
    assert (told["Ready"]["status"], told["EnginesReady"]["status"]) == ("True", "False")
    assert (told["Degraded"]["reason"], told["EnginesReady"]["reason"]) == ("EngineBuildFailed", "EngineBuildFailed")
    assert "change the spec, or delete it" in told["Degraded"]["message"]

    was = cluster.live(API_VERSION, "EngineBuild", "wan-1.3b-add")["metadata"]["uid"]
    ask(cluster, builds=[GPU], image={"name": "longtake-build:2"})
    look(cluster)
    look(cluster)
    assert cluster.live(API_VERSION, "EngineBuild", "wan-1.3b-ada")["spec"]["image"]["name"] == "longtake-build:2"
    assert cluster.live(API_VERSION, "EngineBuild", "wan-1.3b-add")["metadata"]["uid"] == was

    ask(cluster)
    assert look(cluster)["EnginesReady"]["status"] == "True"
    assert builds(cluster) == ["wan-1.3b-add"]


def test_an_engine_build_of_its_name_that_is_anothers_is_left_alone(cluster: Kube) -> None:
    cluster.apply(cluster.object(API_VERSION, "EngineBuild", "wan-1.3b-add", spec=BUILD))
    was = cluster.live(API_VERSION, "EngineBuild", "wan-1.3b-add")["metadata"]["resourceVersion"]
    ask(cluster)
    assert look(cluster)["Degraded"]["reason"] == "NameTaken"
    assert cluster.live(API_VERSION, "EngineBuild", "wan-1.3b-add")["metadata"]["resourceVersion"] == was


def test_another_family_than_was_said_is_told(cluster: Kube) -> None:
    ask(cluster, family="sprite")
    look(cluster)
    built(cluster, "wan-1.3b-add")
    told = look(cluster)
    assert (told["Ready"]["status"], told["Degraded"]["reason"]) == ("False", "FamilyDiffers")
    assert "is of wan, and not of sprite" in told["Ready"]["message"]


@pytest.mark.parametrize(
    ("source", "has"),
    [
        ({"uri": "pvc://models/wan/1.3b"}, {"persistentVolumeClaim": {"claimName": "models", "readOnly": True}}),
        ({"image": PINNED, "path": "/data"}, {"emptyDir": {}}),
    ],
    ids=["claim", "image"],
)
def test_a_checkpoint_in_a_volume_reaches_every_build(
    cluster: Kube, source: dict[str, Any], has: dict[str, Any]
) -> None:
    ask(cluster, source=source, builds=[GPU])
    look(cluster)
    built(cluster, "wan-1.3b-add")
    look(cluster)
    reconcile_build(cluster, cluster.namespace, "wan-1.3b-ada", {})
    for name in ("add", "ada"):
        pod = cluster.live("batch/v1", "Job", f"wan-1.3b-{name}-build")["spec"]["template"]["spec"]
        assert {"name": "weights", **has} in pod["volumes"]
        assert {"name": "weights", "mountPath": "/weights", "readOnly": True} in pod["containers"][0]["volumeMounts"]
        copied = [one["command"] for one in pod.get("initContainers", ())]
        assert copied == ([["cp", "-R", "/data/.", "/weights"]] if "image" in source else [])
    script = cluster.live("batch/v1", "Job", "wan-1.3b-add-build")["spec"]["template"]["spec"]["containers"][0]
    assert f"--from {'/weights' if 'image' in source else '/weights/wan/1.3b'}\n" in script["command"][-1]


def test_a_queue_of_kueues_is_handed_on(cluster: Kube) -> None:
    queue = {"kueue.x-k8s.io/queue-name": "builders"}
    cluster.apply(cluster.object(API_VERSION, "VideoModel", "wan-1.3b", spec=SPEC, labels=queue))
    look(cluster)
    reconcile_build(cluster, cluster.namespace, "wan-1.3b-add", {})
    assert cluster.live("batch/v1", "Job", "wan-1.3b-add-build")["metadata"]["labels"].items() >= queue.items()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"source": {}}, "give exactly one of the two"),
        ({"source": {"uri": "s3://h/b/p", "image": PINNED}}, "give exactly one of the two"),
        ({"source": {"image": "registry.example/wan:1"}}, "image must be pinned by digest"),
        ({"source": {"uri": "s3://h/b/p", "path": "/models"}}, "path goes with image"),
        ({"source": {"uri": "/data/wan"}}, "spec.source.uri"),
        ({"model": "sprite-2"}, "the image has a model of this name"),
        ({"named": "sprite"}, "the image has a model of this name"),
        ({"adapters": [STYLE]}, "a model with adapters is called after its base"),
        ({"model": "wan+style"}, "a model with adapters is called after its base"),
        ({"named": "a" * 31}, "at most 30 characters"),
        ({"precision": "int8", "builds": [GPU]}, "precision is fp32, bf16 or fp16"),
        ({"precision": "dit=bf16"}, "bf16 goes with builds"),
        ({"builds": [{**GPU, "name": "add"}]}, "choose other ones"),
        ({"builds": [GPU, GPU]}, "duplicate entries for key"),
        ({"builds": [{**GPU, "targets": []}]}, "spec.builds[0].targets"),
        ({"trustedKeys": None}, "spec.trustedKeys"),
        ({"deletionPolicy": "Orphan"}, "spec.deletionPolicy"),
    ],
    ids=str,
)
def test_a_bad_one_is_refused_with_the_fix(cluster: Kube, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ApiException) as refused:
        ask(cluster, **changes)
    assert said in json.loads(str(refused.value.body))["message"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"source": {"uri": "s3://h/b/other"}}, "source cannot change: requests know this model by its name"),
        ({"model": "wan"}, "model cannot change"),
        ({"seconds": 3}, "seconds cannot change"),
        ({"canvases": ["1:1=480x480"]}, "canvases cannot change"),
        ({"model": "wan-1.3b+style", "adapters": [STYLE]}, "adapters cannot change"),
        ({"store": {**SPEC["store"], "url": "s3://minio:9000/longtake/other"}}, "store.url cannot change"),
    ],
    ids=str,
)
def test_what_a_model_is_cannot_change(cluster: Kube, changes: dict[str, Any], said: str) -> None:
    ask(cluster)
    with pytest.raises(ApiException) as refused:
        ask(cluster, **changes)
    assert said in json.loads(str(refused.value.body))["message"]


def test_a_service_waits_for_all_engines_of_its_model(cluster: Kube) -> None:
    ask(cluster, builds=[GPU])
    cluster.serve(model="wan-1.3b", trustedKeys=SPEC["trustedKeys"])
    assert cluster.look()["Progressing"]["reason"] == "EnginesBuilding"
    look(cluster)
    built(cluster, "wan-1.3b-add")
    told = cluster.look()
    assert (told["Progressing"]["reason"], told["Ready"]["status"]) == ("EnginesBuilding", "False")
    assert cluster.get("ray.io/v1", "RayService", cluster.namespace, "lt") is None

    look(cluster)
    built(cluster, "wan-1.3b-ada")
    look(cluster)
    cluster.look()
    assert cluster.get("ray.io/v1", "RayService", cluster.namespace, "lt") is not None


def test_the_operators_process_makes_the_builds_and_hears_of_their_end(
    server: kubernetes.ApiServer, cluster: Kube, tmp_path: Path
) -> None:
    with operator(server, cluster.namespace, tmp_path / "operator.log"):
        ask(cluster)
        until(lambda: cluster.get("batch/v1", "Job", cluster.namespace, "wan-1.3b-add-build"), 60)
        finish(cluster, "wan-1.3b-add-build")

        def ready() -> bool:
            told = cluster.live(API_VERSION, "VideoModel", "wan-1.3b").get("status", {}).get("conditions", ())
            return any((one["type"], one["status"]) == ("EnginesReady", "True") for one in told)

        assert until(ready, 60)


def _writes() -> float:
    """Calls so far that change something."""
    (metric,) = CALLS.collect()
    return sum(
        sample.value
        for sample in metric.samples
        if sample.name.endswith("_total") and sample.labels["verb"] not in ("get", "list")
    )
