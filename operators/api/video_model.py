"""VideoModel: a model, from a checkpoint, with its engines for all devices that it is served on.

The controller makes EngineBuilds of it, one after the other where one stands on another, and gathers how they are.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, JsonValue

from operators.api.base import Name, Part, Placement, Resources, Told, rule
from operators.api.checkpoint import Folder, Image, Report, pinned
from operators.api.common import EngineKeys, Grounds, ObjectStore
from operators.api.engine_build import BUILDER, PRECISION, Adapter
from operators.api.video_service import SHIPPED

KIND, PLURAL, SHORT = "VideoModel", "videomodels", "vm"
LONGEST_NAME = 30
ADD, ADAPT = "add", "adapt"
"""Names of builds that are made without being asked for."""
FINALIZER = "longtake.dev/in-store"
"""Of one that is to be taken out of its store before it goes."""
_CALLED = "(has(self.spec.model) ? self.spec.model : self.metadata.name)"
_ADAPTED = "(has(self.spec.adapters) && size(self.spec.adapters) > 0)"
ROOT_RULES = (
    rule(
        f"size(self.metadata.name) <= {LONGEST_NAME}",
        f"metadata.name: at most {LONGEST_NAME} characters: its EngineBuilds are named after it",
    ),
    rule(
        f"!({_CALLED} in {list(SHIPPED)})",
        "the image has a model of this name: choose another one, as metadata.name or as spec.model",
    ),
    rule(
        f"{_CALLED}.contains('+') == {_ADAPTED}",
        "a model with adapters is called after its base, like spec.model: wan-1.3b+style, and no other is",
    ),
)
_KEPT = ("model", "source", "adapters", "canvases", "seconds")
"""What a model is: in a store, another checkpoint does not take the name of one."""


def _kept(field: str) -> dict[str, JsonValue]:
    return rule(
        f"has(self.{field}) == has(oldSelf.{field}) && (!has(self.{field}) || self.{field} == oldSelf.{field})",
        f"{field} cannot change: requests know this model by its name; make another VideoModel, of another name",
        f".{field}",
    )


class Source(Part):
    """A checkpoint in diffusers' form."""

    model_config = ConfigDict(
        json_schema_extra={
            "x-kubernetes-validations": [
                rule(
                    "has(self.uri) != has(self.image)",
                    "source is a uri or an image: give exactly one of the two",
                ),
                rule(
                    "has(self.image) || !has(self.path)",
                    "path goes with image; the folder in a claim or a bucket stands in uri",
                    ".path",
                ),
                pinned("image"),
            ]
        }
    )

    uri: Annotated[
        str, Field(max_length=1024, pattern=r"^(s3://[^/]+/.+|pvc://[a-z0-9]([-a-z0-9.]*[a-z0-9])?/.*)$")
    ] | (None) = None
    """`s3://host:port/bucket/prefix`, with the store's keys, or `pvc://claim/folder` of a PersistentVolumeClaim in this
    namespace."""
    image: Image | None = None
    """An image with the checkpoint in it, and with `cp`, by which it is copied out of it; pinned by digest."""
    path: Folder | None = None
    """The checkpoint's folder in the image; `/models` where none is said."""


class Devices(Placement):
    """Engines that are compiled for GPUs."""

    name: Annotated[str, Field(max_length=18, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")]
    """Its EngineBuild is called so, after the VideoModel."""
    runtime: Annotated[str, Field(max_length=64, pattern=r"^[a-z0-9_]+$")]
    """What compiles and runs them: `tensorrt_rtx` for RTX-class GPUs, `tensorrt` for those of data centres."""
    targets: list[Annotated[str, Field(max_length=32, pattern=r"^[a-z0-9]+$")]] = Field(min_length=1, max_length=16)
    """Architectures of GPUs, `sm89` and its like."""
    resources: Resources = Field(default=BUILDER)
    """What the pod takes."""


class Spec(Grounds, Placement):
    """Which model, and for which devices."""

    model_config = ConfigDict(
        json_schema_extra={
            "x-kubernetes-validations": [
                *(_kept(field) for field in _KEPT),
                rule(
                    f"!has(self.precision) || self.precision.matches('{PRECISION}')",
                    "precision is fp32, bf16 or fp16 for all components, or by component, like dit=bf16,vae=fp32",
                    ".precision",
                ),
                rule(
                    "!has(self.precision) || (has(self.builds) && size(self.builds) > 0) || "
                    "!self.precision.contains('bf16')",
                    "bf16 goes with builds: ONNX Runtime has no kernels for it on the CPU; leave it out, or take fp16",
                    ".precision",
                ),
                rule(
                    f"!has(self.builds) || self.builds.all(b, !(b.name in {[ADD, ADAPT]}))",
                    f"{ADD} and {ADAPT} are names of builds that are made anyway: choose other ones",
                    ".builds",
                ),
            ]
        }
    )

    model: (
        Annotated[str, Field(max_length=127, pattern=r"^[a-z0-9][a-z0-9._-]{0,62}(\+[a-z0-9][a-z0-9._-]{0,62})?$")]
        | None
    ) = None
    """What requests call it; the resource's name where none is said. With adapters `base+name`: the base is added, too.
    """
    family: Annotated[str, Field(max_length=64, pattern=r"^[a-z0-9_]+$")] | None = None
    """Which one the checkpoint must be of, like `wan`; any where none is said."""
    source: Source
    """Where the checkpoint lies; that of the base, where there are adapters."""
    adapters: list[Adapter] = Field(default_factory=list, max_length=8)
    """LoRAs that are merged into the weights, in this order."""
    canvases: (
        list[Annotated[str, Field(max_length=32, pattern=r"^[1-9]\d?:[1-9]\d?=[1-9]\d{1,4}x[1-9]\d{1,4}$")]] | None
    ) = Field(default=None, max_length=8)
    """Frame sizes that it serves, like `16:9=832x480`, the default first; all that it was trained with where none is
    said."""
    seconds: int | None = Field(default=None, ge=1, le=600)
    """Of a segment; as it was trained where none is said."""
    precision: Annotated[str, Field(max_length=256)] | None = None
    """How the engines of `builds` compute, or those of ONNX Runtime where there are none: `bf16` or `fp16` for all
    components, or by component, `dit=bf16,vae=fp32`; float32 is what is not named."""
    builds: list[Devices] = Field(
        default_factory=list,
        max_length=8,
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
    )
    """Engines for GPUs. Those of ONNX Runtime are built without being asked for, when the model is added."""
    store: ObjectStore = Field(
        json_schema_extra={
            "x-kubernetes-validations": [
                rule("self.url == oldSelf.url", "store.url cannot change: make another VideoModel for another store")
            ]
        }
    )
    """Where the model and its engines are put."""
    trusted_keys: EngineKeys
    """Who may sign engines that lie in the store: the key below among them."""
    signing_key_secret: Name
    """Secret with the key `key.pem` that signs what is built: `longtake engines keygen` makes one."""
    resources: Resources = Field(default=BUILDER)
    """What the pod takes that adds the model. All weights are held at once, in float32."""
    deadline_seconds: int = Field(default=86_400, ge=60, le=604_800)
    """How long each build may take."""
    deletion_policy: Literal["Retain", "Delete"] = "Retain"
    """What becomes of the model in the store when this resource is deleted. `Delete`: it is taken out of it with its
    engines, by a Job, before the resource goes; the base of one with adapters stays."""


class Build(Part):
    """One EngineBuild of it."""

    name: str
    """The EngineBuild's."""
    state: str
    """`Waits`, `Building`, `Ready` or `Failed`."""


class Status(Told):
    """What is so. Written by the operator alone.

    Conditions: `Ready`: it is in the store with engines that a CPU runs, and may be served. `EnginesReady`: so are
    those of all builds. `Progressing`: something is being built. `Degraded`: waiting does not mend what is missing."""

    model: str = ""
    """What requests call it."""
    family: str = ""
    """Which one it is of."""
    engines: str = ""
    """How many of its builds are done, like `2/3`."""
    builds: list[Build] = Field(default_factory=list, max_length=16)
    """In the order in which they are made."""
    report: Report | None = None
    """What the newest build told: the weights' digest, what the model can do, its variants and their keys."""


class VideoModel(Part):
    """A model in a store, from a checkpoint, with its engines for all devices that it is served on."""

    spec: Spec
    status: Status = Field(default_factory=Status)


COLUMNS = (
    ("Ready", "string", '.status.conditions[?(@.type=="Ready")].status', 0),
    ("Family", "string", ".status.family", 0),
    ("Precision", "string", ".spec.precision", 0),
    ("Engines", "string", ".status.engines", 0),
    ("Model", "string", ".status.model", 1),
    ("Message", "string", '.status.conditions[?(@.type=="EnginesReady")].message', 1),
    ("Age", "date", ".metadata.creationTimestamp", 0),
)
"""What `kubectl get` shows: title, type, where it stands, and 1 for `-o wide` alone."""
