"""What a service is made of."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.serve.schema import ServeDeploySchema

from operators.api.base import Resources
from operators.children.desired import KINDS, desired
from operators.children.names import QUEUE, Owner
from operators.children.replay_job import replay_job
from operators.children.routes import KINDS as ROUTES
from operators.children.settings import settings_of, threads
from serving.errors import SettingsError
from serving.settings import Settings, load_settings
from serving.stage_names import STAGES
from tests.unit.operators.services import OWNER, spec


def _ray(**parts: Any) -> dict[str, Any]:
    return desired(OWNER, spec(**parts), "lt-abcde")[0]


def _config(ray: dict[str, Any]) -> dict[str, Any]:
    config: dict[str, Any] = yaml.safe_load(ray["spec"]["serveConfigV2"])
    return config


def _groups(ray: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {group["groupName"]: group for group in ray["spec"]["rayClusterConfig"]["workerGroupSpecs"]}


def test_serve_takes_the_configuration_and_the_stages_their_settings() -> None:
    config = _config(_ray(denoisers={"min": 0, "max": 3}))

    ServeDeploySchema.model_validate(config)
    assert config["http_options"]["host"] == "0.0.0.0"
    settings = Settings(**config["applications"][1]["args"]["settings"])
    assert settings.stages.scale_of("denoiser").model_dump() == {"min": 0, "max": 3}
    assert settings.store == "s3://minio:9000/longtake/main"
    (director,) = config["applications"][0]["deployments"]
    assert director["ray_actor_options"]["resources"] == {"head": 1}
    assert director["user_config"]["models"]["sprite-2"]["denoisers"] == 3


def test_a_model_beside_the_first_has_an_application_of_its_own_and_changes_no_pod_but_in_number() -> None:
    style = {"scale": {"denoiser": {"min": 0, "max": 2}}}
    given = {"denoisers": {"min": 1, "max": 3}, "trustedKeys": {"configMap": "engine-keys"}}
    one, both = ({**given, **more} for more in ({}, {"settings": {"models": {"wan": style}}}))
    alone, beside = _ray(**one), _ray(**both)

    applications = {found["name"]: found for found in _config(beside)["applications"]}
    assert list(applications) == ["longtake", "longtake-sprite-2", "longtake-wan"]
    assert applications["longtake-sprite-2"] == _config(alone)["applications"][1]
    stages = applications["longtake-wan"]["args"]["settings"]["stages"]
    assert stages["scale"] == style["scale"]
    assert stages["needs"]["renderer"]["resources"] == {"light": 1.0}
    denoise = _groups(beside)["denoise"]
    assert (denoise["minReplicas"], denoise["maxReplicas"]) == (1, 5)
    for ray in (beside, alone):
        for name in ("replicas", "minReplicas", "maxReplicas"):  # of other numbers KubeRay builds no new cluster
            del _groups(ray)["denoise"][name]
    assert beside["spec"]["rayClusterConfig"] == alone["spec"]["rayClusterConfig"]
    door = next(child for child in desired(OWNER, spec(**both), "lt-abcde") if child["kind"] == "Deployment")
    environment = door["spec"]["template"]["spec"]["containers"][0]["env"]
    variables = {variable["name"]: variable.get("value") for variable in environment}
    assert json.loads(variables["LONGTAKE_MODELS"]) == {"wan": style}


def test_the_same_service_is_the_same_objects() -> None:
    assert desired(OWNER, spec(), "lt-abcde") == desired(OWNER, spec(), "lt-abcde")


def test_a_stage_finds_a_place_on_the_pods_that_are_made_for_it() -> None:
    ray = _ray(denoisers={"max": 4, "resources": {"limits": {"nvidia.com/gpu": 1}}}, light={"replicas": 2})
    needs = _config(ray)["applications"][1]["args"]["settings"]["stages"]["needs"]
    groups = _groups(ray)

    assert needs.keys() == set(STAGES)
    denoise, light = groups["denoise"], groups["light"]
    assert (denoise["minReplicas"], denoise["maxReplicas"]) == (1, 4)
    assert (light["minReplicas"], light["maxReplicas"]) == (2, 2)
    assert needs["denoiser"] == {"num_gpus": 1.0, "resources": {"denoise": 1.0}, "surge": False}
    assert float(denoise["resources"]["denoise"]) == 1
    assert float(denoise["resources"]["GPU"]) == 1
    # Each light stage, and its successor while it is replaced.
    assert float(light["resources"]["light"]) >= 2 * (len(STAGES) - 1)


def test_no_pod_runs_as_root_writes_beside_tmp_or_keeps_a_capability() -> None:
    objects = desired(OWNER, spec(frontDoor={"keysSecret": "keys", "tls": {"existingSecret": "tls"}}), "lt-abcde")
    pods = list(_pods(objects))

    assert len(pods) == 4
    for pod in pods:
        assert pod["securityContext"]["runAsNonRoot"]
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in pod["containers"]:
            security = container["securityContext"]
            assert security["readOnlyRootFilesystem"]
            assert not security["allowPrivilegeEscalation"]
            assert security["capabilities"] == {"drop": ["ALL"]}
            assert "memory" in container["resources"]["limits"]


def test_rays_pods_have_an_image_of_their_own_where_one_is_said() -> None:
    def images(**parts: Any) -> tuple[set[str], set[str]]:
        ray, *others = desired(OWNER, spec(denoisers={"max": 2}, **parts), "lt-abcde")
        found = [set(re.findall(r'"image": "([^"]+)"', json.dumps(objects))) for objects in (ray, others)]
        return found[0], found[1]

    assert images() == ({"longtake:1"}, {"longtake:1"})
    assert images(rayImage="longtake-ray:1") == ({"longtake-ray:1"}, {"longtake:1"})


def test_children_are_of_kinds_that_are_looked_for_and_belong_to_the_service() -> None:
    gateway = {"parents": [{"name": "public"}], "grpcHostname": "video.example", "httpHostname": "media.example"}
    everything = spec(frontDoor={"keysSecret": "keys", "maxReplicas": 5, "gateway": gateway})
    children = [*desired(OWNER, everything, "lt-abcde"), replay_job(OWNER, everything)]
    assert {(child["apiVersion"], child["kind"]) for child in children} == {*KINDS, *ROUTES}
    for child in children:
        assert child["metadata"]["labels"]["longtake.dev/service"] == "lt"
        assert child["metadata"]["ownerReferences"][0]["uid"] == "uid-1"


def test_a_front_door_ends_within_its_pods_grace_period() -> None:
    door = {"keysSecret": "keys", "drainSeconds": 60}
    pod = next(child for child in desired(OWNER, spec(frontDoor=door), "") if child["kind"] == "Deployment")["spec"]
    template = pod["template"]["spec"]
    (container,) = template["containers"]
    variables = {variable["name"]: variable.get("value") for variable in container["env"]}

    assert variables["LONGTAKE_GRPC__GRACE_S"] == "60"
    sleeps = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert template["terminationGracePeriodSeconds"] > 60 + sleeps
    # Proxies have learnt of its end, and each connection has come to its age, a tenth later than asked for at most.
    assert sleeps >= 5 + 1.1 * float(variables["LONGTAKE_GRPC__CONNECTION_S"])


def test_a_front_door_knows_how_many_denoisers_there_may_be(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """By them it tells when a job starts, and which deadlines can be met."""
    made = spec(denoisers={"min": 0, "max": 8}, light={"replicas": 2})
    door = next(child for child in desired(OWNER, made, "") if child["kind"] == "Deployment")
    (container,) = door["spec"]["template"]["spec"]["containers"]
    for variable in container["env"]:
        if variable["name"].startswith("LONGTAKE_") and "value" in variable:
            monkeypatch.setenv(variable["name"], variable["value"])
    (tmp_path / "keys.jsonl").touch()
    monkeypatch.setenv("LONGTAKE_AUTH__KEYS_FILE", str(tmp_path / "keys.jsonl"))

    read = load_settings().stages
    assert read.scale_of("denoiser") == settings_of(made).stages.scale_of("denoiser")
    assert read.scale_of("renderer").max == 2


def test_only_a_pod_that_asks_the_api_server_has_a_token_for_it() -> None:
    def mounted(**denoisers: int) -> list[bool]:
        pods = _pods(desired(OWNER, spec(denoisers=denoisers), "lt-abcde"))
        return [pod.get("automountServiceAccountToken", True) for pod in pods]

    assert mounted(min=2, max=2) == [False] * 4
    assert sorted(mounted(min=0, max=2)) == [False] * 3 + [True], "the head, where KubeRay adds its autoscaler"


def test_the_director_stays_on_the_head() -> None:
    ray = _ray()
    (director,) = _config(ray)["applications"][0]["deployments"]
    (needs,) = director["ray_actor_options"]["resources"].items()
    head = ray["spec"]["rayClusterConfig"]["headGroupSpec"]["resources"]
    assert director["name"] == "director"
    assert float(head[needs[0]]) >= 2 * needs[1]
    assert not any(needs[0] in group["resources"] for group in _groups(ray).values())


def test_a_change_of_tolerations_is_one_that_kuberay_sees() -> None:
    """It looks away from them, and not from annotations."""
    plain, tolerant = (
        _groups(_ray(denoisers={"tolerations": found}))["denoise"]["template"]["metadata"]
        for found in ([], [{"key": "nvidia.com/gpu", "operator": "Exists"}])
    )
    assert plain != tolerant


def _tolerated(**parts: Any) -> list[list[tuple[Any, ...]]]:
    """Of front doors and of Ray's pods: what each tolerates, and for how long."""
    children = desired(OWNER, spec(**parts), "")
    door = next(child for child in children if child["kind"] == "Deployment")
    cluster = children[0]["spec"]["rayClusterConfig"]
    made = (door["spec"], cluster["headGroupSpec"], *cluster["workerGroupSpecs"])
    return [
        [(one.get("key"), one.get("tolerationSeconds")) for one in pod["template"]["spec"]["tolerations"]]
        for pod in made
    ]


def test_no_pod_that_serves_is_bound_to_a_node_that_went_away() -> None:
    soon = [("node.kubernetes.io/not-ready", 30), ("node.kubernetes.io/unreachable", 30)]
    assert _tolerated() == [soon] * 4


@pytest.mark.parametrize(
    ("own", "others"),
    [
        ({"key": "node.kubernetes.io/unreachable", "operator": "Exists", "tolerationSeconds": 5}, 1),
        ({"operator": "Exists"}, 0),  # whatever it is
        ({"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoSchedule"}, 2),
        ({"key": "nvidia.com/gpu", "operator": "Exists"}, 2),
    ],
)
def test_who_tolerates_another_time_has_it(own: dict[str, Any], others: int) -> None:
    *_, found = _tolerated(denoisers={"tolerations": [own]})
    assert found[0] == (own.get("key"), own.get("tolerationSeconds"))
    assert len(found) == 1 + others


def test_front_doors_and_light_stages_are_spread_over_nodes_where_they_can_be() -> None:
    door = next(child for child in desired(OWNER, spec(), "") if child["kind"] == "Deployment")
    light = _groups(_ray())["light"]
    for made in (door["spec"], light):
        template = made["template"]
        (one,) = template["spec"]["topologySpreadConstraints"]
        assert (one["topologyKey"], one["whenUnsatisfiable"]) == ("kubernetes.io/hostname", "ScheduleAnyway")
        assert one["labelSelector"]["matchLabels"].items() <= template["metadata"]["labels"].items()


def test_every_pod_that_loads_engines_reads_whose_it_trusts() -> None:
    wanted = spec(model="wan-1.3b", trustedKeys={"configMap": "engine-keys"})
    children = desired(OWNER, wanted, "")
    ray = next(child for child in children if child["kind"] == "RayService")
    door = next(child for child in children if child["kind"] == "Deployment")["spec"]["template"]["spec"]
    head = ray["spec"]["rayClusterConfig"]["headGroupSpec"]["template"]["spec"]
    pods = [door, head, *(group["template"]["spec"] for group in _groups(ray).values())]
    path = _config(ray)["applications"][1]["args"]["settings"]["engines"]["trusted_keys"]

    for pod in pods:
        (volume,) = [
            found["name"] for found in pod["volumes"] if found.get("configMap", {}).get("name") == "engine-keys"
        ]
        (container,) = pod["containers"]
        (mount,) = [found for found in container["volumeMounts"] if found["name"] == volume]
        assert Path(path) == Path(mount["mountPath"]) / "trusted"
    variables = {variable["name"]: variable.get("value") for variable in door["containers"][0]["env"]}
    assert json.loads(variables["LONGTAKE_ENGINES"]) == {"trusted_keys": path}
    with pytest.raises(SettingsError, match=r"spec\.settings\.models: wan: trustedKeys must be given"):
        settings_of(spec(settings={"models": {"wan": {}}}))
    with pytest.raises(SettingsError, match=r"spec\.settings\.engines\.trusted_keys"):
        settings_of(spec(settings={"engines": {"trusted_keys": "/elsewhere"}}))


@pytest.mark.parametrize(
    ("memory", "megabytes"),
    [("4Gi", 536), ("512Mi", 200), ("64Gi", 2000), ("8G", 1000), ("8589934592", 1073), ({}, 200)],
)
def test_ray_has_room_for_what_jobs_hand_on_and_the_pod_shared_memory_for_it(memory: Any, megabytes: int) -> None:
    limits = {"limits": {"memory": memory}} if memory else {}
    group = _groups(_ray(denoisers={"resources": limits}))["denoise"]
    taken = int(group["rayStartParams"]["object-store-memory"])
    assert taken // 1_000_000 == megabytes
    (shared,) = [volume["emptyDir"] for volume in group["template"]["spec"]["volumes"] if volume["name"] == "shm"]
    assert int(shared["sizeLimit"]) > taken


def test_parts_of_a_gpu_count_and_what_is_no_number_is_refused() -> None:
    part = {"limits": {"nvidia.com/mig-1g.10gb": 1}}
    assert settings_of(spec(denoisers={"resources": part})).stages.needs["denoiser"].num_gpus == 1
    with pytest.raises(SettingsError, match="write a whole number of devices"):
        settings_of(spec(denoisers={"resources": {"limits": {"nvidia.com/gpu": "1k"}}}))


def test_claims_stand_beside_extended_resources_and_ray_is_told_of_their_gpus() -> None:
    resources = {"limits": {"nvidia.com/gpu": 1}, "claims": [{"template": "h100.80gb", "gpus": 2}]}
    ray = desired(OWNER, spec(denoisers={"resources": resources}), "")[0]["spec"]["rayClusterConfig"]
    denoise = next(group for group in ray["workerGroupSpecs"] if group["groupName"] == "denoise")
    pod = denoise["template"]["spec"]
    assert pod["resourceClaims"] == [{"name": "devices-0", "resourceClaimTemplateName": "h100.80gb"}]
    assert pod["containers"][0]["resources"] == {"limits": {"nvidia.com/gpu": 1}, "claims": [{"name": "devices-0"}]}
    assert denoise["resources"]["GPU"] == "3"
    others = [pod for child in desired(OWNER, spec(), "") for pod in (json.dumps(child),) if "laims" in pod]
    assert not others


def test_a_queue_of_kueues_is_the_ray_services_alone() -> None:
    live = {"metadata": {"name": "lt", "namespace": "video", "uid": "uid-1", "labels": {QUEUE: "gpus"}}}
    objects = desired(Owner.of(live), spec(), "lt-abcde")
    assert [child["kind"] for child in objects if QUEUE in json.dumps(child)] == ["RayService"]
    assert objects[0]["metadata"]["labels"][QUEUE] == "gpus"


def test_variables_for_traces_reach_front_doors_and_the_director_alone() -> None:
    traces = {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}
    made = desired(OWNER, spec(traces=traces), "lt-abcde")
    ray = made[0]["spec"]["rayClusterConfig"]
    [door] = [child["spec"]["template"] for child in made if child["kind"] == "Deployment"]
    workers = [group["template"] for group in ray["workerGroupSpecs"]]

    def told(pod: dict[str, Any]) -> dict[str, str]:
        variables = pod["spec"]["containers"][0]["env"]
        return {found["name"]: found["value"] for found in variables if found["name"].startswith("OTEL_")}

    assert told(ray["headGroupSpec"]["template"]) == told(door) == traces
    assert [told(worker) for worker in workers] == [{}, {}]
    with pytest.raises(SettingsError, match=r"spec\.traces\.PATH"):
        settings_of(spec(traces={"PATH": "/tmp"}))


def test_settings_go_to_whom_they_concern() -> None:
    plain, other = (_ray(settings=settings) for settings in ({}, {"admission": {"max_active_jobs": 7}}))
    assert plain == other
    assert _ray(settings={"retention": {"video_ttl_s": 3600}}) != plain


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"store": {}}, "spec.settings.store: what of it can be chosen has fields here"),
        ({"models": {"sprite": {}}}, "spec.settings.models: sprite-2 and sprite are one model, keep one of them"),
        ({"stages": {"scale": {}}}, "spec.settings.stages.scale: what of it can be chosen has fields here"),
        ({"admission": {"max_active_jobs": 0}}, "admission.max_active_jobs"),
        ({"nonsense": {}}, "there is no such setting"),
        ({"stages": {"slots": 0}}, "stages.slots"),
    ],
)
def test_a_wrong_setting_is_named(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingsError) as refused:
        settings_of(spec(settings=settings))
    assert said in refused.value.message


@pytest.mark.parametrize(
    ("resources", "count"),
    [({}, 1), ({"requests": {"cpu": "500m"}}, 1), ({"requests": {"cpu": 1}, "limits": {"cpu": "3500m"}}, 3)],
)
def test_engines_compute_with_the_cpus_that_a_pod_has(resources: dict[str, Any], count: int) -> None:
    assert threads(Resources.model_validate(resources)) == count


def _pods(objects: list[dict[str, Any]]) -> Any:
    """Every pod's spec in there."""
    for child in objects:
        found = json.loads(json.dumps(child))
        stack: list[Any] = [found]
        while stack:
            part = stack.pop()
            if isinstance(part, dict):
                if "containers" in part:
                    yield part
                stack += part.values()
            elif isinstance(part, list):
                stack += part
