"""EngineBuild: a model is added to a store, or built for another device, once. The controller makes a Job of it."""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field

from operators.api.base import Name, Part, Placement, Resources, Told, rule
from operators.api.checkpoint import WEIGHTS, Report, Weights
from operators.api.common import EngineKeys, Grounds

KIND, PLURAL, SHORT = "EngineBuild", "enginebuilds", "eb"
LONGEST_NAME = 50
ROOT_RULES = (
    rule(
        f"size(self.metadata.name) <= {LONGEST_NAME}",
        f"metadata.name: at most {LONGEST_NAME} characters: its Job and pods are named after it",
    ),
)
BUILDER = Resources.model_validate({"requests": {"cpu": "4", "memory": "16Gi"}, "limits": {"memory": "64Gi"}})

_WORD, _PART = "(fp32|bf16|fp16)", "[a-z][a-z0-9_]*"
PRECISION = f"^({_WORD}|{_PART}={_WORD}(,{_PART}={_WORD})*)$"
"""What `longtake engines build --precision` reads."""
_FOR_GPUS = "has(self.targets) && !has(self.source)"
_ADAPTED = "has(self.adapters) && size(self.adapters) > 0"


class Adapter(Part):
    """A LoRA that is merged into the model's weights."""

    uri: Annotated[str, Field(min_length=1, max_length=1024, pattern=r"^s3://[^/]+/.+$")]
    """`s3://host:port/bucket/style.safetensors`, with the store's keys."""
    scale: float = 1.0
    """How strongly."""


class Spec(Grounds, Placement):
    """What is to be built. It cannot be changed: make another EngineBuild."""

    model_config = ConfigDict(
        json_schema_extra={
            "x-kubernetes-validations": [
                rule("self == oldSelf", "spec cannot change: make another EngineBuild"),
                rule(
                    f"self.model.contains('+') ? ({_ADAPTED} || ({_FOR_GPUS})) : !({_ADAPTED})",
                    "a model with adapters is called after its base, like wan-1.3b+style, and no other is",
                    ".model",
                ),
                rule(
                    f"!(has(self.source) && {_ADAPTED})",
                    "source is the base's: build that first, and leave source out here",
                    ".source",
                ),
                rule(
                    f"!has(self.source) || has(self.weights) || !self.source.startsWith('{WEIGHTS}')",
                    f"a source in {WEIGHTS} goes with weights: name the claim or the image that has it",
                    ".source",
                ),
                rule(
                    "has(self.source) || !(has(self.canvases) || has(self.seconds))",
                    "canvases and seconds go with source alone: they are said when a model is added",
                    ".source",
                ),
                rule(
                    "has(self.runtime) == has(self.targets)",
                    "runtime and targets go together: what compiles, and for which GPUs",
                    ".targets",
                ),
                rule(
                    f"!has(self.precision) || self.precision.matches('{PRECISION}')",
                    "precision is fp32, bf16 or fp16 for all components, or by component, like dit=bf16,vae=fp32",
                    ".precision",
                ),
                rule(
                    "!has(self.precision) || has(self.targets) || !self.precision.contains('bf16')",
                    "bf16 goes with targets: ONNX Runtime has no kernels for it on the CPU; leave it out, or take fp16",
                    ".precision",
                ),
                rule(
                    f"has(self.source) || {_ADAPTED} || has(self.targets)",
                    "nothing to do: give source to add a model, adapters to adapt one, or targets to build one for",
                    ".targets",
                ),
            ]
        }
    )

    model: Annotated[str, Field(max_length=127, pattern=r"^[a-z0-9][a-z0-9._-]{0,62}(\+[a-z0-9][a-z0-9._-]{0,62})?$")]
    """What requests call it."""
    source: Annotated[str, Field(max_length=1024, pattern=rf"^(s3://[^/]+/.+|{WEIGHTS}(/.*)?)$")] | None = None
    """A checkpoint in diffusers' form: the model is added. `s3://host:port/bucket/prefix`, with the store's keys, or
    `/weights/folder` of the volume below."""
    weights: Weights | None = None
    """A volume at `/weights`. It is given to every build of a model whose checkpoint lies there."""
    adapters: list[Adapter] = Field(default_factory=list, max_length=8)
    """Merged into the weights of a model that was added before, in this order."""
    canvases: (
        list[Annotated[str, Field(max_length=32, pattern=r"^[1-9]\d?:[1-9]\d?=[1-9]\d{1,4}x[1-9]\d{1,4}$")]] | None
    ) = Field(default=None, max_length=8)
    """Frame sizes that it serves, like `16:9=832x480`, the default first; all that it was trained with where none is
    said."""
    seconds: int | None = Field(default=None, ge=1, le=600)
    """Of a segment; as it was trained where none is said."""
    runtime: Annotated[str, Field(max_length=64, pattern=r"^[a-z0-9_]+$")] | None = None
    """What compiles and runs the engines for `targets`: `tensorrt_rtx` for RTX-class GPUs, `tensorrt` for those of data
    centres. The image must have it. Engines of ONNX Runtime are built without being asked for."""
    targets: list[Annotated[str, Field(max_length=32, pattern=r"^[a-z0-9]+$")]] | None = Field(
        default=None, min_length=1, max_length=16
    )
    """Architectures of GPUs, `sm89` and its like, that engines are compiled for, too. That takes no GPU; to verify them
    takes one, and unverified ones are not loaded."""
    precision: Annotated[str, Field(max_length=256)] | None = None
    """How the engines for `targets` compute, or those of ONNX Runtime where no target is named: `bf16` or `fp16` for
    all components, or by component, `dit=bf16,vae=fp32`; float32 is what is not named. It is a variant of its own."""
    trusted_keys: EngineKeys
    """Who may sign engines that lie in the store: the key below among them."""
    signing_key_secret: Name
    """Secret with the key `key.pem` that signs what is built: `longtake engines keygen` makes one."""
    resources: Resources = Field(default=BUILDER)
    """What the pod takes. All weights are held at once, in float32."""
    deadline_seconds: int = Field(default=86_400, ge=60, le=604_800)
    """How long it may take."""


class Status(Told):
    """What is so. Written by the operator alone.

    Conditions: `Ready`: the engines are in the store. `Progressing`: they are being built. `Degraded`: the build
    failed, or waits for what does not come by itself."""

    report: Report | None = None
    """What it told at its end: what the model is, what it can do, and which engines of it there are."""


class EngineBuild(Part):
    """Adds a model to a store, or builds its engines for other devices: once, by a Job."""

    spec: Spec
    status: Status = Field(default_factory=Status)


COLUMNS = (
    ("Ready", "string", '.status.conditions[?(@.type=="Ready")].status', 0),
    ("Model", "string", ".spec.model", 0),
    ("Reason", "string", '.status.conditions[?(@.type=="Ready")].reason', 0),
    ("Message", "string", '.status.conditions[?(@.type=="Ready")].message', 1),
    ("Age", "date", ".metadata.creationTimestamp", 0),
)
"""What `kubectl get` shows: title, type, where it stands, and 1 for `-o wide` alone."""
