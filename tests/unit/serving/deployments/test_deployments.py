"""What the deployments declare and decide, without a running Ray."""

from __future__ import annotations

import asyncio
import pickle
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from serving.deployments.app import config, director, model
from serving.deployments.host import free_ports, refuse_shared_directory
from serving.deployments.metrics_binding import RayRecorder, _make
from serving.deployments.router import NamedReplicaRouter
from serving.errors import InvalidArgument, SettingsError
from serving.metrics import REPLICAS, RPC_SECONDS, STEPS_RECOMPUTED
from serving.runtime_keys import announce_director, director_address
from serving.settings import Admission, ModelSettings, Needs, Scale, Settings, Stages, TenantAdmission
from serving.stage_names import STAGES
from serving.stages.contracts import CancelCall, TextCall
from serving.store.open import open_store


def test_the_declared_applications_are_the_same_text_every_time() -> None:
    settings = Settings(store="/tmp/store")

    first, second = (config(settings, grpc_port=9001, http_port=9002) for _ in range(2))

    assert first.model_dump_json(exclude_unset=True) == second.model_dump_json(exclude_unset=True)
    assert [(one.name, one.import_path) for one in first.applications] == [
        ("longtake", "serving.deployments.app:director"),
        ("longtake-sprite-2", "serving.deployments.app:model"),
    ]
    assert all(application.args["settings"]["store"] == "/tmp/store" for application in first.applications)
    assert not first.grpc_options.enable_reflection
    assert first.http_options.host == "127.0.0.1"


def applications(settings: Settings, **generations: int) -> dict[str, dict[str, Any]]:
    """What is deployed, by name."""
    wanted = config(settings, grpc_port=1, http_port=2, generations=generations)
    return {application.name: application.model_dump(exclude_unset=True) for application in wanted.applications}


def test_what_only_the_front_door_reads_replaces_no_replica() -> None:
    one = applications(Settings(admission=Admission(tenants={"a": TenantAdmission(weight=2.0)})))
    other = applications(Settings(admission=Admission(max_active_jobs=7, tenants={"a": TenantAdmission(weight=2.0)})))

    assert one == other
    assert one["longtake"]["args"]["settings"]["admission"] == {"tenants": {"a": {"weight": 2.0}}}
    assert one["longtake-sprite-2"]["args"]["settings"].keys() == {"store", "model", "engines", "stages"}


def test_a_model_that_comes_changes_no_other_one_and_the_director_is_only_told() -> None:
    alone = applications(Settings())
    both = applications(
        Settings(models={"wan+style": ModelSettings(scale={"denoiser": Scale(min=0, max=3)}, variant="torch-cpu")})
    )

    assert both["longtake-sprite-2"] == alone["longtake-sprite-2"]
    new = both["longtake-wan+style"]["args"]["settings"]
    assert (new["model"], new["engines"]["variant"]) == ("wan+style", "torch-cpu")
    assert new["stages"]["scale"] == {"denoiser": {"min": 0, "max": 3}}
    for name in ("deployments", "autoscaling_policy"):  # how many there are is recorded where any model is scaled
        both["longtake"].pop(name), alone["longtake"].pop(name, None)
    assert both["longtake"]["args"].pop("autoscaled")
    assert not alone["longtake"]["args"].pop("autoscaled")
    assert both["longtake"] == alone["longtake"]


def test_the_director_is_told_what_there_is_of_each_model() -> None:
    stages = Stages(replicas={"renderer": 2, "conditioner": 3}, slots=5)
    settings = Settings(stages=stages, models={"wan": ModelSettings(replicas={"denoiser": 3}, slots=9)})
    (director,) = applications(settings)["longtake"]["deployments"]

    kept = ["prompt_writer", "text_encoder", "conditioner", "denoiser", "renderer"]
    assert director["user_config"]["models"] == {
        "sprite-2": {"slots": 5, "denoisers": 1, "renderers": 2, "conditioners": 3, "kept": kept},
        "wan": {"slots": 9, "denoisers": 3, "renderers": 2, "conditioners": 3, "kept": kept},
    }


def test_another_generation_replaces_one_application() -> None:
    before, after = applications(Settings()), applications(Settings(), **{"longtake-sprite-2": 1})

    assert before["longtake"] == after["longtake"]
    assert before["longtake-sprite-2"]["args"] != after["longtake-sprite-2"]["args"]


def bound(settings: dict[str, Any]) -> list[Any]:
    """Every deployment of the Director's application and a model's."""
    of_director = director({"settings": settings, "autoscaled": False, "generation": 0})
    root = model({"settings": settings, "generation": 0})._bound_deployment
    others: tuple[Any, ...] = root.init_args[1:]  # after the settings
    return [of_director._bound_deployment, root, *(stage._bound_deployment for stage in others)]


def test_a_stage_goes_where_its_needs_are_met() -> None:
    settings = Stages(needs={"denoiser": Needs(num_gpus=0.5, resources={"denoise": 1.0})})

    options = {one.name: one.ray_actor_options for one in bound({"stages": settings.model_dump(mode="json")})}
    assert options["denoiser"] == {"num_cpus": 0, "num_gpus": 0.5, "resources": {"denoise": 1.0}}
    assert options["renderer"] == {"num_cpus": 0, "num_gpus": 0, "resources": {}}


def test_serve_looks_often_whether_a_replica_lives_and_most_often_at_the_director() -> None:
    deployments = bound(Settings(store="/tmp/store").model_dump(mode="json"))

    every_s = {deployment.name: deployment._deployment_config.health_check_period_s for deployment in deployments}
    assert every_s.keys() == {*STAGES, "director"}
    assert max(every_s.values()) <= 1.0
    assert every_s["director"] <= 0.5


def test_a_director_that_starts_waits_for_no_engine_and_no_codec_to_be_imported() -> None:
    program = "import sys, serving.deployments.director_replica; print(*sys.modules)"

    loaded = set(
        subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    )

    assert "serving.director.director" in loaded
    assert not loaded & {"av", "onnxruntime", "torch", "engines.session", "serving.deployments.replicas"}


def test_a_directory_store_is_refused_on_several_machines() -> None:
    refuse_shared_directory("/data/store", nodes=1)
    refuse_shared_directory("s3://host:9000/bucket", nodes=3)
    with pytest.raises(SettingsError, match="s3://"):
        refuse_shared_directory("dir:///data/store", nodes=2)


def test_the_directors_address_is_replaced_at_every_start(tmp_path: Path) -> None:
    async def run() -> str | None:
        store = await open_store(str(tmp_path / "store"), probe=False)
        for port in (1, 2, 2):
            await announce_director(store, f"127.0.0.1:{port}")
        return await director_address(store)

    assert asyncio.run(run()) == "127.0.0.1:2"


def test_free_ports_differ_and_are_none_that_the_kernel_gives_to_others() -> None:
    ports = free_ports(4)
    assert len(set(ports)) == 4
    assert max(ports) < int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])


def test_a_counter_takes_nothing_too() -> None:
    recorder = RayRecorder()
    recorder.add(STEPS_RECOMPUTED, 0)
    with pytest.raises(ValueError, match="must be >0"):
        recorder.add(STEPS_RECOMPUTED, -1)


def test_every_metric_of_the_replicas_can_be_made() -> None:
    assert {_make(metric).info["name"] for metric in REPLICAS} == {
        metric.name.removesuffix("_total") for metric in REPLICAS
    }
    with pytest.raises(ValueError, match="serving/metrics"):
        _make(RPC_SECONDS)


# ── errors across processes ─────────────────────────────────────────────────────────────────────────────────────────


def test_a_users_error_survives_the_way_between_processes() -> None:
    error = pickle.loads(pickle.dumps(InvalidArgument("first_frame", "it is no picture", reason="NO_PICTURE")))

    assert (error.field, error.description, error.reason) == ("first_frame", "it is no picture", "NO_PICTURE")
    assert str(error) == "first_frame: it is no picture"


# ── the router ──────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class _Id:
    unique_id: str


@dataclass(frozen=True)
class _Replica:
    replica_id: _Id


@dataclass
class _Context:
    should_backoff: bool = False


@dataclass
class _Request:
    args: list[Any]
    routing_context: _Context = field(default_factory=_Context)


def _chosen(*args: object) -> list[str]:
    replicas: list[Any] = [_Replica(_Id("a")), _Replica(_Id("b"))]
    request: Any = _Request(list(args))
    router = object.__new__(NamedReplicaRouter)
    (found,) = asyncio.run(router.choose_replicas(replicas, request))
    assert request.routing_context.should_backoff is bool(args)
    return [replica.replica_id.unique_id for replica in found]


def test_a_call_goes_to_the_replica_that_it_names() -> None:
    assert _chosen(CancelCall("job", "b")) == ["b"]


def test_a_call_that_names_none_or_one_that_is_gone_may_go_to_any() -> None:
    assert _chosen(TextCall("t", "m", "d", "caption")) == ["a", "b"]
    assert _chosen(CancelCall("job", "gone")) == ["a", "b"]
    assert _chosen() == ["a", "b"]
