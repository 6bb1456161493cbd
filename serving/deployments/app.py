"""The Serve applications: the Director's, and one for each model. `declared.py` has the configuration, which names the
functions here.

Serve imports them in a process of its own to get the graphs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ray import serve
from ray.serve.config import RequestRouterConfig
from ray.serve.schema import ServeDeploySchema

from serving.deployments import replicas
from serving.deployments.declared import DIRECTOR, declared
from serving.deployments.director_replica import DirectorReplica
from serving.settings import GivenSettings, Needs, Scale, Settings
from serving.stage_names import CONDITIONER, DENOISER, PROMPT_WRITER, RENDERER, TEXT_ENCODER, StageName
from serving.stages.contracts import RENDERS_AT_ONCE

_SURGE = 100
"""Per cent of replicas that a roll-out starts before it stops the old ones: work never waits for a start."""
_LOOK_EVERY_S, _DIRECTOR_LOOK_EVERY_S = 1.0, 0.5
"""Serve learns of a replica's death by its next health check alone, so this is how long nobody comes in its place."""
_CONCURRENCY: dict[StageName, int] = {
    PROMPT_WRITER: 64,
    TEXT_ENCODER: 16,
    CONDITIONER: 8,
    DENOISER: 1000,
    RENDERER: RENDERS_AT_ONCE,
}
"""Calls that a replica has at once. The Denoiser's slices wait for their turn inside."""


def config(
    settings: Settings,
    *,
    grpc_port: int,
    http_port: int,
    announced: str | None = None,
    generations: Mapping[str, int] | None = None,
) -> ServeDeploySchema:
    """The configuration of one installation on this machine. Another one of an application's `generations` replaces
    every replica of it, a few at a time.

    Raises pydantic's `ValidationError` for what Serve does not take.
    """
    return ServeDeploySchema.model_validate(
        declared(
            settings,
            grpc_port=grpc_port,
            http_port=http_port,
            announced=announced,
            generations=generations or {},
        )
    )


def director(args: dict[str, Any]) -> serve.Application:
    """The Director; it finds the models' stages by name. `generation` is there to be another one."""
    settings = GivenSettings(**args["settings"])
    return serve.deployment(
        name=DIRECTOR,
        max_surge_percent=_SURGE,
        # Serve collects what a replica records only of a deployment that it scales, be it from one to one.
        **({"autoscaling_config": _scaled(Scale())} if args["autoscaled"] else {"num_replicas": 1}),
        max_ongoing_requests=10_000,
        ray_actor_options={"num_cpus": 0},
        graceful_shutdown_timeout_s=5,
        graceful_shutdown_wait_loop_s=0.2,
        health_check_period_s=_DIRECTOR_LOOK_EVERY_S,
    )(DirectorReplica).bind(settings, args.get("announced"))


def model(args: dict[str, Any]) -> serve.Application:
    """The stages of one model. An application has one root, and all else hangs from it: here from where jobs enter."""
    settings = GivenSettings(**args["settings"])

    def stage(name: StageName, replica: type, **options: Any) -> serve.Deployment:
        needs = settings.stages.needs.get(name, Needs())
        return serve.deployment(
            name=name,
            max_surge_percent=_SURGE if needs.surge else 0,
            **_replicas(settings.stages.scale_of(name)),
            max_ongoing_requests=_CONCURRENCY[name],
            ray_actor_options=_needs(needs),
            # A replica that hangs is replaced after three checks.
            health_check_period_s=_LOOK_EVERY_S,
            health_check_timeout_s=10,
            graceful_shutdown_timeout_s=3 * settings.stages.slice_s,
            graceful_shutdown_wait_loop_s=0.2,
            **options,
        )(replica)

    named = RequestRouterConfig.model_validate(
        {"request_router_class": "serving.deployments.router:NamedReplicaRouter"}
    )
    others = [
        stage(TEXT_ENCODER, replicas.TextEncoderReplica).bind(settings),
        stage(CONDITIONER, replicas.ConditionerReplica).bind(settings),
        stage(DENOISER, replicas.DenoiserReplica, request_router_config=named).bind(settings),
        stage(RENDERER, replicas.RendererReplica).bind(settings),
    ]
    return stage(PROMPT_WRITER, replicas.PromptWriterReplica).bind(settings, *others)


def _needs(needs: Needs) -> dict[str, Any]:
    """What Ray looks for on a node. No CPU: a stage's threads are the settings' matter."""
    return {"num_cpus": 0, "num_gpus": needs.num_gpus, "resources": needs.resources}


def _replicas(scale: Scale) -> dict[str, Any]:
    """A deployment's options for so many replicas."""
    return {"num_replicas": scale.max} if scale.min == scale.max else {"autoscaling_config": _scaled(scale)}


def _scaled(scale: Scale) -> dict[str, Any]:
    """All waiting is done by our policy, none by Serve."""
    return {
        "min_replicas": scale.min,
        "max_replicas": scale.max,
        "upscale_delay_s": 0,
        "downscale_delay_s": 0,
        "metrics_interval_s": 1,
        "look_back_period_s": 5,
    }
