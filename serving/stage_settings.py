"""Settings of what makes videos, and of how long they stay: engines, stages and their scale, retention.

`settings.py` puts them together, and everybody imports them from there. Another value of these replaces stages.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Final, Self

from pydantic import Field, field_validator, model_validator

from serving.frozen import Frozen
from serving.home import home
from serving.stage_names import DENOISER, STAGES, StageName

VARIANT: Final = r"^([a-z0-9_]+-[a-z0-9]+(-[a-z0-9_.]+)*)?$"
"""What a variant is called; the commands that take one read it too."""

OF_ENGINES: Final = ("variant", "text_encoder_variant")
"""What of `engines` a model may have of its own."""
_ADDRESS: Final = r"([A-Za-z0-9_.-]+|\[[0-9A-Fa-f:]+\]):[0-9]{1,5}"


class Engines(Frozen):
    """Which engines are loaded, and whose from a store. The package's own need no key."""

    variant: str = Field(default="", pattern=VARIANT, examples=["tensorrt_rtx-sm89"])
    """Runtime, device and precision of the engines that are served, as `longtake engines ls --all` lists them; default:
    those of the package, or ONNX Runtime's in the store. All processes of an installation have the same, those without
    a GPU too: it decides the digest that jobs record."""
    text_encoder_variant: str = Field(default="", pattern=VARIANT, examples=["onnxruntime-cpu"])
    """The same of the text encoder alone: where a GPU's memory is short, that may compute on the CPU, once for each
    prompt. It must have been built as well. Default: that of `variant`."""
    triton: str = Field(default="", examples=["127.0.0.1:8001"])
    """Address (host:port) of the gRPC of a Triton Inference Server that runs the engines, as `longtake engines
    triton-repo` wrote them for it; default: none, and each stage loads its own. It is asked without TLS: both ends are
    of one machine or of a network that is yours. On this machine tensors go by shared memory."""
    trusted_keys: Path = Field(
        default_factory=lambda: home() / ".longtake" / "engine-keys" / "trusted",
        examples=["/etc/longtake/trusted-engine-keys"],
    )
    """File with a public key a line, as `longtake engines trust ls` prints them; default:
    `~/.longtake/engine-keys/trusted`. Engines that lie in a store are loaded when one of these keys signed them, and
    refused else: they are native code. Only its owner may write it. It is read again whenever engines are loaded."""
    signing_key: Path = Field(
        default_factory=lambda: home() / ".longtake" / "engine-keys" / "key.pem",
        examples=["/etc/longtake/engine-key.pem"],
    )
    """File with the key that `longtake engines build` and `sign` sign with; default:
    `~/.longtake/engine-keys/key.pem`. The first build into a store makes it, and trusts it on this machine. What serves
    does not need it."""
    weights_folder: Path = Field(
        default_factory=lambda: home() / ".longtake" / "engine-weights",
        examples=["/var/cache/longtake/engine-weights"],
    )
    """Folder on this machine for weights that lie beside engines in a store, which are mapped from there; default:
    `~/.longtake/engine-weights`. It takes room for all weights of the model that is served; engines of less than 64 MB
    have theirs inside. Kernels that TensorRT-RTX makes at a start are kept there for the next one, and so is what
    TensorRT measures in a build. Processes share it; only its owner may write it. What nobody loaded for 30 days goes
    by itself, and each file may be removed at any time: it is fetched or made again."""

    @field_validator("triton")
    @classmethod
    def _an_address(cls, value: str) -> str:
        if value and not re.fullmatch(_ADDRESS, value):
            raise ValueError("no address of a server's gRPC: write host:port, for example 127.0.0.1:8001")
        return value


class Scale(Frozen):
    """Least and most replicas of a stage. Where they differ, its backlog decides."""

    min: int = Field(default=1, ge=0, examples=[0])
    """Least replicas. 0: none while nothing is queued or running; the next job waits for a start."""
    max: int = Field(default=1, ge=1, examples=[4])
    """Most replicas; `min` or more."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min > self.max:
            raise ValueError(f"`min` is {self.min} and `max` is {self.max}: raise `max`, or lower `min`")
        return self


class Needs(Frozen):
    """What a node of Ray must have for a replica of a stage."""

    num_gpus: float = Field(default=0, ge=0, examples=[1.0])
    """GPUs of Ray's counting that each replica takes; a fraction lets replicas share one."""
    resources: dict[str, Annotated[float, Field(gt=0)]] = Field(default_factory=dict, examples=[{"denoise": 1.0}])
    """Ray's custom resources that each replica takes, by name: nodes that offer them are where it goes."""
    surge: bool = True
    """Whether a replica that is replaced goes after its successor has started. False where no node has room for both:
    then it goes first, and what it was at is done by the successor."""


class Stages(Frozen):
    """The Ray Serve deployments."""

    replicas: dict[StageName, Annotated[int, Field(ge=1)]] = Field(default_factory=dict, examples=[{"renderer": 2}])
    """A fixed number of replicas by stage; 1 where a stage is not named."""
    scale: dict[StageName, Scale] = Field(default_factory=dict, examples=[{"denoiser": {"min": 0, "max": 4}}])
    """Stages that are scaled by their backlog, each with its least and most replicas. A stage stands here or in
    `replicas`, not in both."""
    needs: dict[StageName, Needs] = Field(default_factory=dict, examples=[{"denoiser": {"num_gpus": 1}}])
    """What a replica needs of its node, by stage; nothing where a stage is not named. One that no node can have waits
    for such a node."""
    backlog_s: float = Field(default=30.0, gt=0)
    """Seconds of predicted work per replica that may be queued or running before another replica is started: about how
    long work may wait."""
    down_delay_s: float = Field(default=60.0, ge=0)
    """Seconds that fewer replicas must have been enough before any is taken away. Longer than a start takes, so that a
    short lull costs none."""
    idle_s: float = Field(default=300.0, ge=0)
    """Seconds without any work before a stage goes down to its `min`, which may be none."""
    engine_threads: int = Field(default=0, ge=0)
    """Threads that each engine computes with; 0: one per core. Fewer where many replicas share a machine."""
    slice_s: float = Field(default=5.0, gt=0)
    """Seconds that a call to the Denoiser may take at most, after which the Director decides anew. Slices are 0.5 s at
    most anyway; a replica that is stopped gets three times this to finish its own."""
    slots: int = Field(default=4, ge=1)
    """Jobs that the Director runs at once, urgent ones aside; at least as many as Denoisers, or some would idle."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for name in self.replicas:
            if name in self.scale:
                raise ValueError(f"`replicas` and `scale` both name {name}: keep one of them")
        denoisers = self.scale_of(DENOISER).max
        if denoisers > self.slots:
            raise ValueError(
                f"up to {denoisers} Denoisers would share the work of `slots` = {self.slots} jobs, and a job takes one "
                f"of them at a time: set `slots` to {denoisers} or more"
            )
        return self

    def scale_of(self, stage: StageName) -> Scale:
        """Its least and most replicas, fixed ones included."""
        fixed = self.replicas.get(stage, 1)
        return self.scale.get(stage, Scale(min=fixed, max=fixed))

    @property
    def kept(self) -> tuple[StageName, ...]:
        """Stages that always have a replica."""
        return tuple(stage for stage in STAGES if self.scale_of(stage).min)

    @property
    def autoscaled(self) -> bool:
        """Whether any stage is scaled by its backlog."""
        return any(scale.min != scale.max for scale in self.scale.values())

    def but(self, own: ModelSettings) -> Stages:
        """Those of a model that has these of its own. Raises pydantic's `ValidationError` where they do not fit."""
        named = {*own.replicas, *own.scale}
        values: dict[str, Any] = self.model_dump()
        for table in ("replicas", "scale"):
            values[table] = {stage: value for stage, value in values[table].items() if stage not in named}
        told = own.model_dump(exclude=set(OF_ENGINES))
        for name, value in told.items():
            if isinstance(value, dict):
                values[name] |= value
            elif value is not None:
                values[name] = value
        return Stages.model_validate(values)


class ModelSettings(Frozen):
    """What is different for one model; what is left out is as in `stages` and `engines`."""

    replicas: dict[StageName, Annotated[int, Field(ge=1)]] = Field(default_factory=dict, examples=[{"renderer": 2}])
    """As `stages.replicas`; a stage that is named here or in `scale` is as it is here."""
    scale: dict[StageName, Scale] = Field(default_factory=dict, examples=[{"denoiser": {"min": 0, "max": 4}}])
    """As `stages.scale`."""
    needs: dict[StageName, Needs] = Field(default_factory=dict, examples=[{"denoiser": {"num_gpus": 1}}])
    """As `stages.needs`; a stage that is named here has these and no others."""
    engine_threads: int | None = Field(default=None, ge=0, examples=[4])
    """As `stages.engine_threads`. None: as there."""
    slots: int | None = Field(default=None, ge=1, examples=[8])
    """As `stages.slots`. None: as there."""
    variant: str | None = Field(default=None, pattern=VARIANT, examples=["tensorrt_rtx-sm89"])
    """As `engines.variant`. None: as there."""
    text_encoder_variant: str | None = Field(default=None, pattern=VARIANT, examples=["onnxruntime-cpu"])
    """As `engines.text_encoder_variant`. None: as there."""

    @property
    def engines(self) -> dict[str, str]:
        """What is different of `engines`."""
        return {name: value for name in OF_ENGINES if (value := getattr(self, name)) is not None}


class Retention(Frozen):
    """How long videos are kept, and what the collector (`longtake gc`) spares."""

    video_ttl_s: int | None = Field(default=None, ge=60, examples=[2_592_000])
    """Seconds after its end that a video is deleted; None: never. One that has an end of its own goes when the first
    of the two is there."""
    tenants: dict[str, Annotated[int, Field(ge=60)] | None] = Field(default_factory=dict, examples=[{"studio": 86_400}])
    """Seconds for single tenants, by name, instead of `video_ttl_s`. None: never; TOML has no word for it, the
    environment's JSON has `null`."""
    margin_s: float = Field(default=3600.0, ge=600)
    """Seconds; whatever is younger is spared. Longer than any call to the front door takes, and than clocks differ."""
    cache_ttl_s: int = Field(default=30 * 86_400, ge=3600)
    """Seconds that a cached embedding or picture is kept; 30 days. Later it is computed again, which costs time and
    changes nothing."""
