"""VideoService: one Longtake installation in a namespace. The controller reads it, and writes its status."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import ConfigDict, Field

from operators.api.base import Name, Part, Placement, Resources, Told, rule
from operators.api.common import Grounds, ObjectStore
from operators.api.rollout import Redeploys, Rollout, RolloutStatus

KIND, PLURAL, SHORT = "VideoService", "videoservices", "vs"
SHIPPED = ("sprite-2", "sprite")
"""What the model is called whose engines are in the image: two names of one."""
FINALIZER = "longtake.dev/drain"
"""Of one whose running jobs are to end before it goes."""
LONGEST_NAME = 40
"""KubeRay takes 47 characters, and the children's names are longer by a word."""
ROOT_RULES = (
    rule(
        f"size(self.metadata.name) <= {LONGEST_NAME} && self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",
        f"metadata.name: at most {LONGEST_NAME} letters, digits and dashes, a letter first: Services are named after "
        "it",
    ),
)

_HEAD = Resources.model_validate({"requests": {"cpu": "1", "memory": "2Gi"}, "limits": {"memory": "3Gi"}})
_WORKER = Resources.model_validate({"requests": {"cpu": "1", "memory": "2Gi"}, "limits": {"memory": "4Gi"}})
_DOOR = Resources.model_validate({"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"memory": "1Gi"}})


class Head(Placement):
    """The pod of Ray's head and of the Director, which schedules all work."""

    resources: Resources = Field(default=_HEAD)
    """What the pod takes."""


class Workers(Placement):
    """Pods of one kind that run stages."""

    model_config = ConfigDict(
        json_schema_extra={
            "x-kubernetes-validations": [
                rule("self.min <= self.max", "min must not be more than max: raise max, or lower min", ".min")
            ]
        }
    )

    min: int = Field(default=1, ge=0, le=10_000)
    """Least pods. 0 for Denoisers: none while nothing is queued or running, and the next job waits for a start."""
    max: int = Field(default=1, ge=1, le=10_000)
    """Most pods."""
    resources: Resources = Field(default=_WORKER)
    """What each pod takes. A pod with `nvidia.com/gpu` among its limits runs its stages there."""
    engine_threads: int = Field(default=0, ge=0, le=1024)
    """Threads that each engine computes with; 0: as many as the pod's CPU limit or request has, one at least."""


class Light(Placement):
    """Pods of the stages around denoising: texts, conditions, decoding and encoding."""

    replicas: int = Field(default=1, ge=1, le=1000)
    """Pods, each with a replica of every such stage."""
    resources: Resources = Field(default=_WORKER)
    """What each pod takes."""


class Scaling(Part):
    """When Denoisers come and go."""

    backlog_seconds: int = Field(default=30, ge=1, le=86_400)
    """Seconds of predicted work per Denoiser that may be queued or running before another one is started."""
    down_delay_seconds: int = Field(default=60, ge=0, le=86_400)
    """Seconds that fewer must have been enough before any is taken away."""
    idle_seconds: int = Field(default=300, ge=0, le=604_800)
    """Seconds without any work before they go down to `min`."""


class Tls(Part):
    """A Secret of the type `kubernetes.io/tls`."""

    existing_secret: Name
    """Its name; its `tls.crt` and `tls.key` are served."""


class Parent(Part):
    """A Gateway, or one listener of it."""

    name: Name
    """The Gateway's name."""
    namespace: str = Field(default="", max_length=63)
    """Its namespace; empty: the service's own."""
    section_name: str = Field(default="", max_length=253)
    """The listener's name; empty: every one that takes such a route."""


Hostname = Annotated[
    str,
    Field(
        min_length=1,
        max_length=253,
        pattern=r"^(\*\.)?[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$",
    ),
]


class Gateway(Part):
    """How clients outside the cluster come to the front door, by routes of the Gateway API: a GRPCRoute for calls, and
    an HTTPRoute for media."""

    model_config = ConfigDict(
        json_schema_extra={
            "x-kubernetes-validations": [
                rule(
                    "self.grpcHostname != self.httpHostname",
                    "grpcHostname and httpHostname must differ: at a gateway, a hostname is of one kind of route",
                    ".httpHostname",
                )
            ]
        }
    )

    parents: list[Parent] = Field(min_length=1, max_length=8)
    """Gateways that the routes are attached to; each must let this namespace attach some."""
    grpc_hostname: Hostname
    """What clients call: `video.example`."""
    http_hostname: Hostname
    """Whence they fetch media: `media.example`. `publicUrl` should begin with it."""


class FrontDoor(Placement):
    """The processes that clients talk to."""

    model_config = ConfigDict(
        json_schema_extra={
            "x-kubernetes-validations": [
                rule(
                    "self.minReplicas <= self.maxReplicas",
                    "minReplicas must not be more than maxReplicas: raise maxReplicas, or lower minReplicas",
                    ".minReplicas",
                )
            ]
        }
    )

    min_replicas: int = Field(default=2, ge=1, le=1000)
    """Least pods; 2 so that one may go."""
    max_replicas: int = Field(default=2, ge=1, le=1000)
    """Most pods. Where it is more than `minReplicas`, a HorizontalPodAutoscaler on CPU decides, which needs a metrics
    server."""
    keys_secret: Name
    """Secret with the key `keys.jsonl`: the API keys that `longtake keys add NAME --file keys.jsonl` writes."""
    public_url: str = Field(
        default="", max_length=1024, pattern=r"^(https?://[^ ]+)?$", examples=["https://video.example"]
    )
    """What clients reach; URLs of videos begin with it. Empty: the Service's name, which works inside the cluster."""
    gateway: Gateway | None = None
    """Routes from a gateway, which balances calls and may end TLS. It needs the Gateway API, 1.1 or newer."""
    tls: Tls | None = None
    """Serve gRPC with TLS; without it, put a gateway that ends TLS before it."""
    drain_seconds: int = Field(default=25, ge=5, le=3600)
    """Seconds that calls may take to end when a pod is stopped."""
    resources: Resources = Field(default=_DOOR)
    """What each pod takes."""


class Drain(Part):
    """What becomes of work that runs when the service is deleted."""

    timeout_seconds: int = Field(default=0, ge=0, le=86_400)
    """Seconds that jobs which run then may take to end, before Ray goes. What has not ended by then, and what waits,
    goes on where a service is made on the store again. 0: it all stops at once."""


class Spec(Grounds):
    """What is wanted."""

    model_config = ConfigDict(
        json_schema_extra={
            "x-kubernetes-validations": [
                rule(
                    f"self.model in {list(SHIPPED)} || has(self.trustedKeys)",
                    "trustedKeys must be given for a model that was added: its engines lie in the store, and are "
                    "loaded only where one of these keys signed them",
                    ".model",
                )
            ]
        }
    )

    model: str = Field(default=SHIPPED[0], min_length=1, max_length=128)
    """Name of the model that is served: `sprite-2`, whose engines are in the image, or one that a VideoModel or
    `longtake models add` put into the store. A VideoModel of this name and store is waited for."""
    store: ObjectStore = Field(
        json_schema_extra={
            "x-kubernetes-validations": [
                rule(
                    "self.url == oldSelf.url",
                    "store.url cannot change: its videos would be gone; make another VideoService",
                )
            ]
        }
    )
    ray_image: Annotated[str, Field(min_length=1, max_length=1024, examples=["longtake-ray@sha256:…"])] | None = None
    """Image of Ray's pods, pulled as `image` is. Where none is said, `image` is theirs too, and must have Ray in it."""
    front_door: FrontDoor
    denoisers: Workers = Field(default_factory=Workers)
    light: Light = Field(default_factory=Light)
    head: Head = Field(default_factory=Head)
    scaling: Scaling = Field(default_factory=Scaling)
    rollout: Rollout = Field(default_factory=Rollout)
    drain: Drain = Field(default_factory=Drain)
    settings: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """More of Longtake's settings (docs/settings.md), by group: `admission`, `retention`, `uploads`, `video`,
    `engines`, `stages`, and `models` that are served beside the one above. What this resource has fields for
    cannot stand here."""
    traces: dict[str, str] = Field(default_factory=dict, examples=[{"OTEL_TRACES_EXPORTER": "otlp"}])
    """OpenTelemetry's own variables, `OTEL_…`, for the front doors and the Director: where traces of jobs go."""


class Endpoints(Part):
    """Where it is reached inside the cluster."""

    grpc: str
    """host:port of the gRPC API."""
    http: str
    """URL of media, health and metrics."""


class Status(Told):
    """What is so. Written by the operator alone.

    Conditions: `Ready`: it takes and makes videos. `Progressing`: something is being brought about. `Degraded`:
    something that worked does not."""

    model: str = ""
    """The model that is served."""
    denoisers: int = 0
    """Denoiser replicas that are up."""
    front_doors: int = 0
    """Front-door pods that are ready."""
    active_cluster: str = ""
    """The RayCluster that front doors talk to."""
    endpoints: Endpoints | None = None
    rollout: RolloutStatus = Field(default_factory=RolloutStatus)
    redeploys: Redeploys = Field(default_factory=Redeploys)


class VideoService(Part):
    """A Longtake installation: Ray with its stages, and the front door, on one object store."""

    spec: Spec
    status: Status = Field(default_factory=Status)


COLUMNS = (
    ("Ready", "string", '.status.conditions[?(@.type=="Ready")].status', 0),
    ("Model", "string", ".status.model", 0),
    ("Denoisers", "integer", ".status.denoisers", 0),
    ("Doors", "integer", ".status.frontDoors", 0),
    ("Reason", "string", '.status.conditions[?(@.type=="Ready")].reason', 0),
    ("Endpoint", "string", ".status.endpoints.grpc", 1),
    ("Rollout", "string", ".status.rollout.state", 1),
    ("Age", "date", ".metadata.creationTimestamp", 0),
)
"""What `kubectl get` shows: title, type, where it stands, and 1 for `-o wide` alone."""
