"""The Serve application's declarative configuration, as plain values: `longtake up` deploys it, and so does Kubernetes.

No Ray is imported here, so that the operator, which has none, writes the same configuration into a RayService.
"""

from __future__ import annotations

from typing import Any

from serving.settings import Settings

APPLICATION = "longtake"
_SERVICER = "serving.gen.longtake.internal.v1.director_pb2_grpc.add_DirectorServicer_to_server"
_POLICY = "serving.deployments.autoscale:BacklogPolicy"


def declared(
    settings: Settings, *, grpc_port: int, http_port: int, http_host: str = "127.0.0.1", generation: int = 0
) -> dict[str, Any]:
    """In the form of Serve's `ServeDeploySchema`. Deploying another `generation` replaces every replica.

    `http_host` is where Serve answers whoever asks how it is; none of ours calls it.
    """
    return {
        "proxy_location": "HeadOnly",
        "http_options": {"host": http_host, "port": http_port},
        "grpc_options": {
            "port": grpc_port,
            "grpc_servicer_functions": [_SERVICER],
            "enable_reflection": False,
        },
        "logging_config": {"encoding": "JSON", "enable_access_log": False},
        "applications": [
            {
                "name": APPLICATION,
                "route_prefix": "/",
                "import_path": "serving.deployments.app:build",
                "args": {"settings": settings.of_stages(), "generation": generation},
                **_policy(settings),
            }
        ],
    }


def _policy(settings: Settings) -> dict[str, Any]:
    """The application's part that scales the stages."""
    if not settings.stages.autoscaled:
        return {}
    aim = settings.stages.model_dump(include={"backlog_s", "down_delay_s", "idle_s"})
    return {"autoscaling_policy": {"policy_function": _POLICY, "policy_kwargs": aim}}
