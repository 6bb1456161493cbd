"""The Serve applications' declarative configuration, as plain values: `longtake up` deploys it, and so does Kubernetes.

The Director is an application of its own, and each model one: when a model comes or goes, no process of the others is
touched. What the Director has to know of the models is the one thing that is told to it while it works (`user_config`).

No Ray is imported here, so that the operator, which has none, writes the same configuration into a RayService.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from serving.settings import Settings
from serving.stage_names import CONDITIONER, DENOISER, RENDERER

APPLICATION, DIRECTOR = "longtake", "director"
"""The Director's application, and its one deployment."""
_SERVICER = "serving.gen.longtake.internal.v1.director_pb2_grpc.add_DirectorServicer_to_server"
FIRST: Mapping[str, int] = MappingProxyType({})
"""Generations of applications of which nothing was deployed anew."""


def application_of(model: str) -> str:
    """The application of a model's stages."""
    return f"{APPLICATION}-{model}"


def declared(
    settings: Settings,
    *,
    grpc_port: int,
    http_port: int,
    http_host: str = "127.0.0.1",
    announced: str | None = None,
    generations: Mapping[str, int] = FIRST,
) -> dict[str, Any]:
    """In the form of Serve's `ServeDeploySchema`. Deploying another of an application's `generations` replaces every
    replica of it.

    `http_host` is where Serve answers whoever asks how it is; none of ours calls it. `announced`: where the Director
    says that it is (host:port), for front doors to which no setting says it.
    """
    models = [_model(settings.of(name), settings.of_stages(name), generations) for name in settings.served]
    return {
        "proxy_location": "HeadOnly",
        "http_options": {"host": http_host, "port": http_port},
        "grpc_options": {
            "port": grpc_port,
            "grpc_servicer_functions": [_SERVICER],
            "enable_reflection": False,
        },
        "logging_config": {"encoding": "JSON", "enable_access_log": False},
        "applications": [_director(settings, announced, generations), *models],
    }


def _director(settings: Settings, announced: str | None, generations: Mapping[str, int]) -> dict[str, Any]:
    autoscaled = any(settings.of(name).stages.autoscaled for name in settings.served)
    policy = {"autoscaling_policy": {"policy_function": "serving.deployments.autoscale:DirectorPolicy"}}
    return {
        "name": APPLICATION,
        "route_prefix": "/",
        "import_path": "serving.deployments.app:director",
        "args": {
            "settings": settings.of_director(),
            **({} if announced is None else {"announced": announced}),
            "autoscaled": autoscaled,
            "generation": generations.get(APPLICATION, 0),
        },
        "deployments": [
            {"name": DIRECTOR, "user_config": {"models": {name: _told(settings.of(name)) for name in settings.served}}}
        ],
        **(policy if autoscaled else {}),
    }


def _told(model: Settings) -> dict[str, Any]:
    """What the Director has to know of a model; `director_models.py` reads it."""
    stages = model.stages
    return {
        "slots": stages.slots,
        "denoisers": stages.scale_of(DENOISER).max,
        "renderers": stages.scale_of(RENDERER).max,
        # Those that are always there: films that fill all their places would keep everybody's conditions waiting.
        "conditioners": max(1, stages.scale_of(CONDITIONER).min),
        "kept": list(stages.kept),
    }


def _model(model: Settings, read: dict[str, Any], generations: Mapping[str, int]) -> dict[str, Any]:
    name, stages = application_of(model.model), model.stages
    aim = {"model": model.model, **stages.model_dump(include={"backlog_s", "down_delay_s", "idle_s"})}
    policy = {
        "autoscaling_policy": {"policy_function": "serving.deployments.autoscale:BacklogPolicy", "policy_kwargs": aim}
    }
    return {
        "name": name,
        "route_prefix": None,
        "import_path": "serving.deployments.app:model",
        "args": {"settings": read, "generation": generations.get(name, 0)},
        **(policy if stages.autoscaled else {}),
    }
