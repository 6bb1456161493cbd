"""The RayService: the head with the Director, the pods of the light stages, and the Denoisers' pods.

KubeRay makes pods of it and hands the Serve configuration to Ray. Its probes and start-up have traps, each told at the
line that avoids it; they were found with KubeRay 1.6.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import yaml

from operators.api.base import Resources
from operators.api.video_service import Spec
from operators.children.names import (
    DASHBOARD_PORT,
    DENOISE,
    HEAD,
    LIGHT,
    METRICS_PORT,
    SERVE_GRPC_PORT,
    SERVE_HTTP_PORT,
    Owner,
)
from operators.children.pods import container, container_security, environment, serving, spread, trusted_volume
from operators.children.settings import LIGHT_PLACES, gpus, memory_bytes
from serving.deployments.declared import FIRST, declared
from serving.logs import STREAM
from serving.settings import Settings
from serving.stage_names import DENOISER

API_VERSION, KIND = "ray.io/v1", "RayService"
RAY_VERSION = "2.60.0"
"""KubeRay chooses probes and authentication by it."""
_OBJECT_STORE_BYTES = (200_000_000, 2_000_000_000)
"""At least and at most, else an eighth of the pod's memory: of a large model the latents and embeddings of a job are
tens of MB. They take memory as it is used."""
_DELETION_DELAY_S = 60
"""An old cluster goes so long after the new one has taken over."""
_OPTIONS = {
    STREAM: "/proc/1/fd/1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DEDUP_LOGS": "0",
    # As `serving/local/parts.py` says.
    "RAY_SERVE_GRPC_MAX_MESSAGE_SIZE": str(4 << 20),
    # The video encoder tells of every segment otherwise.
    "SVT_LOG": "1",
}


def ray_service(owner: Owner, spec: Spec, settings: Settings, generations: Mapping[str, int] = FIRST) -> dict[str, Any]:
    """The whole object. A change of its pods makes KubeRay build a new cluster beside the old one."""
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {"name": owner.ray, "namespace": owner.namespace, "labels": owner.labels("ray") | owner.queued},
        "spec": {
            "rayClusterDeletionDelaySeconds": _DELETION_DELAY_S,
            "upgradeStrategy": {"type": "NewCluster"},
            "serveConfigV2": serve_config(settings, generations),
            "rayClusterConfig": _cluster(owner, spec, settings),
        },
    }


def serve_config(settings: Settings, generations: Mapping[str, int] = FIRST) -> str:
    """The Serve applications. The text is the same for the same settings: another one is sent to Ray."""
    config: dict[str, Any] = declared(
        settings,
        grpc_port=SERVE_GRPC_PORT,
        http_port=SERVE_HTTP_PORT,
        http_host="0.0.0.0",  # KubeRay asks at the pod's address  # noqa: S104
        generations=generations,
    )
    # Only the head offers it: elsewhere the Director would end with a pod that is scaled away.
    (director,) = config["applications"][0]["deployments"]
    director["ray_actor_options"] = {"num_cpus": 0, "resources": {HEAD: 1}}
    return yaml.safe_dump(json.loads(json.dumps(config)), sort_keys=True)


def _cluster(owner: Owner, spec: Spec, settings: Settings) -> dict[str, Any]:
    light, (least, most) = spec.light, _denoisers(settings)
    cluster: dict[str, Any] = {
        "rayVersion": RAY_VERSION,
        "authOptions": {"mode": "token"},
        "headGroupSpec": {
            # No CPU: Ray places nothing there of its own accord.
            "rayStartParams": {"object-store-memory": str(_object_store_bytes(spec.head.resources))},
            "resources": {"CPU": "0", HEAD: "2"},  # one, and its successor while it is replaced
            "template": _head(owner, spec, autoscaled=least != most),
        },
        # Appended to, never reordered: KubeRay would build a new cluster.
        "workerGroupSpecs": [
            _group(owner, spec, LIGHT, light.replicas, light.replicas, {LIGHT: LIGHT_PLACES}),
            _group(owner, spec, DENOISE, least, most, {DENOISE: 1}),
        ],
    }
    if least != most:
        cluster["enableInTreeAutoscaling"] = True
        cluster["autoscalerOptions"] = {
            "version": "v2",
            "idleTimeoutSeconds": 30,
            "imagePullPolicy": spec.image.pull_policy,
            "image": ray_image(spec),
            "securityContext": container_security(),
        }
    return cluster


def _denoisers(settings: Settings) -> tuple[int, int]:
    """Pods of theirs, at least and at most: those of all models. Of another number KubeRay builds no new cluster."""
    scales = [settings.of(model).stages.scale_of(DENOISER) for model in settings.served]
    return sum(scale.min for scale in scales), sum(scale.max for scale in scales)


def _head(owner: Owner, spec: Spec, *, autoscaled: bool) -> dict[str, Any]:
    ports = {
        "gcs-server": 6379,
        "dashboard": DASHBOARD_PORT,
        "client": 10001,
        "serve": SERVE_HTTP_PORT,
        "serve-grpc": SERVE_GRPC_PORT,
        "metrics": METRICS_PORT,
    }
    head = _ray_container("ray-head", spec, spec.head.resources, ports, **spec.traces)
    # Of the API server it needs nothing, but for the autoscaler that KubeRay adds to it.
    account = {} if autoscaled else {"automountServiceAccountToken": False}
    pod = {**serving(spec, spec.head, spec.head.resources), **account, "containers": [head]}
    return _template(owner, "ray-head", spec, spec.head.resources, pod)


def _group(owner: Owner, spec: Spec, name: str, least: int, most: int, offers: dict[str, int]) -> dict[str, Any]:
    """A worker group. What its pods offer is where the stages go that need it."""
    workers = spec.denoisers if name == DENOISE else spec.light
    worker = {
        **_ray_container("ray-worker", spec, workers.resources, {"metrics": METRICS_PORT}),
        # KubeRay's own asks Serve's proxy, and there is none on a worker.
        "readinessProbe": {
            "httpGet": {"path": "/api/healthz", "port": 52365},
            "initialDelaySeconds": 10,
            "periodSeconds": 5,
            "timeoutSeconds": 5,
            "failureThreshold": 10,
        },
    }
    where = serving(spec, workers, workers.resources)
    pod = {**where, "automountServiceAccountToken": False, "containers": [worker]}
    if name == LIGHT:  # a Denoiser takes a whole node where it is large, and of small ones nodes are to be left free
        pod["topologySpreadConstraints"] = spread(owner, name)
    return {
        "groupName": name,
        "replicas": least,
        "minReplicas": least,
        "maxReplicas": most,
        "rayStartParams": {"object-store-memory": str(_object_store_bytes(workers.resources))},
        # With `resources`, KubeRay takes no `num-cpus` and counts no GPU for itself.
        "resources": {"CPU": "1", **{offer: str(count) for offer, count in offers.items()}, **_gpus(workers.resources)},
        "template": _template(owner, name, spec, workers.resources, pod),
    }


def _object_store_bytes(resources: Resources) -> int:
    least, most = _OBJECT_STORE_BYTES
    return min(max(memory_bytes(resources) // 8, least), most)


def _gpus(resources: Resources) -> dict[str, str]:
    count = gpus(resources)
    return {"GPU": str(count)} if count else {}


def _ray_container(
    name: str, spec: Spec, resources: Resources, ports: dict[str, int], **variables: str
) -> dict[str, Any]:
    return {
        **container(name, spec, resources),
        "image": ray_image(spec),
        "env": environment(spec, **_OPTIONS, **variables),
        "ports": [{"name": port, "containerPort": number} for port, number in ports.items()],
        "volumeMounts": [
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108
            {"name": "shm", "mountPath": "/dev/shm"},  # noqa: S108
            *trusted_volume(spec)[1],
        ],
    }


def ray_image(spec: Spec) -> str:
    """Of pods that run engines."""
    return spec.ray_image or spec.image.name


def _template(owner: Owner, component: str, spec: Spec, resources: Resources, pod: dict[str, Any]) -> dict[str, Any]:
    shared = _object_store_bytes(resources) * 5 // 4
    volumes = [
        {"name": "tmp", "emptyDir": {}},
        {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": str(shared)}},
        *trusted_volume(spec)[0],
    ]
    # KubeRay does not see a change of tolerations, and annotations it does.
    text = json.dumps(pod["tolerations"], sort_keys=True)
    annotations = {"longtake.dev/tolerations": hashlib.sha256(text.encode()).hexdigest()[:16]}
    metadata = {"labels": owner.labels(component), "annotations": annotations}
    return {"metadata": metadata, "spec": {**pod, "volumes": volumes}}
