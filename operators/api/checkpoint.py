"""Where a checkpoint lies, and what became of it: parts that VideoModels and EngineBuilds have in common."""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field, JsonValue

from operators.api.base import Name, Part, rule

WEIGHTS = "/weights"
"""Where a volume with a checkpoint is in a pod. A store's record of a model has it, so it stays the same."""
PINNED = "@sha256:[a-f0-9]{64}$"
Image = Annotated[
    str, Field(min_length=1, max_length=1024, examples=["registry.example/wan@sha256:…"], pattern="^[^@ ]+(@.*)?$")
]
Folder = Annotated[str, Field(max_length=1024, pattern=r"^/[^ ]*$")]


def pinned(field: str) -> dict[str, JsonValue]:
    """The rule that an image is what it was when it was asked for."""
    return rule(
        f"!has(self.{field}) || self.{field}.matches('{PINNED}')",
        f"{field} must be pinned by digest, like registry.example/wan@sha256:…: what a tag names changes",
        f".{field}",
    )


class Weights(Part):
    """A volume with a checkpoint."""

    model_config = ConfigDict(
        json_schema_extra={
            "x-kubernetes-validations": [
                rule(
                    "has(self.claim) != has(self.image)", "weights are of a claim or of an image: give one of the two"
                ),
                pinned("image"),
            ]
        }
    )

    claim: Name | None = None
    """A PersistentVolumeClaim, that is only read."""
    image: Image | None = None
    """An image with the checkpoint in it, and with `cp`, by which it is copied out of it; pinned by digest."""
    path: Folder = "/models"
    """The checkpoint's folder in the image."""


class Variant(Part):
    """Engines of one runtime, device and precision."""

    name: str = Field(max_length=128)
    """As `settings.engines.variant` of a service names it."""
    key: str = Field(max_length=64)
    """Digest of their manifest."""
    verified: bool
    """Whether they were compared with the model, and may be loaded."""


class Range(Part):
    """From what to what."""

    min: int
    max: int


class Capabilities(Part):
    """What a model can do, as its family tells."""

    canvases: list[Annotated[str, Field(max_length=32)]] = Field(default_factory=list, max_length=16)
    """Frame sizes by aspect ratio, like `16:9=832x480`; the first is the default."""
    fps: int = 0
    """Frames a second."""
    seconds: Range
    """Of a video."""
    extension: bool = False
    """Whether it extends videos."""
    references: int = 0
    """Pictures that a video may show, at most."""
    first_frame: bool = False
    """Whether a picture may be the first frame."""
    image: bool = False
    """Whether it makes pictures."""
    negative_prompt: bool = False
    """Whether it takes one."""


class Report(Part):
    """What a build told at its end."""

    family: str = Field(max_length=64)
    """Which one the checkpoint is of."""
    weights_digest: str = Field(max_length=64)
    """sha256 over the checkpoint, whole, and its adapters: engines are found by it."""
    variants: list[Variant] = Field(default_factory=list, max_length=64)
    """Engines of these weights that are in the store."""
    capabilities: Capabilities
