"""What a model family is: the one interface through which stages use a model.

A family declares what its model can do (`Capabilities`), reads prompts and pictures, packs conditions into the engines'
inputs and owns the sampler. It never talks to a store or to Ray. `serving/stages` and `serving/plan.py` call it;
`sprite/family.py` is the family that ships. What a family adds so that its engines can be built stands in
`buildable.py`.

Shapes below are named after what `Capabilities` declares: C is `latent_channels`, s `latent_stride`, f
`frames_per_latent`; H and W are a canvas's pixels, h and w its latents (H/s, W/s); T counts latents and F frames.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from engines.families.capabilities import Canvas, Capabilities, Role
from engines.families.history import Before, HistoryPlan

Array = NDArray[np.float32]
Frames = NDArray[np.uint8]
EngineCall = Literal["encode_text", "encode_video", "step", "decode"]
"""The methods of a family that call engines; `encode_still` and `encode_clip` go with `encode_video`."""
Subject = Literal["named", "reference", "frame"]
"""What a video is of: a thing that the prompt names, a reference picture, or what a given frame shows."""


@dataclass(frozen=True)
class PromptReading:
    """What a family understood of a prompt."""

    effective_prompts: tuple[str, ...]
    """The caption that the model sees of each segment, or the one of all; complete, canonical, reproducible from prompt
    and seed."""
    understood: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class FrameReading:
    """What a family reads from a frame that a video goes on after, and that it did not make itself."""

    facts: str = ""
    """What the plan of the next segment has to know: see `history.Before`."""
    warning: str | None = None


@dataclass(frozen=True)
class ReferenceReading:
    """What a family reads from a reference picture."""

    picture: Frames
    """uint8 [H, W, 3]: what is really encoded."""
    description: str
    """In words, for `effective_reference`."""
    warning: str | None = None
    facts: str = ""
    """What the reading of the prompt has to know of it."""


@dataclass(frozen=True)
class Conditions:
    """All that one segment's denoising is conditioned on; constant over its steps. Arrays are float32 on the host."""

    canvas: Canvas
    text: Array
    """[tokens, width]: the text encoder's output."""
    references: tuple[Array, ...] = ()
    """Each [C, h, w] of a picture of `reference_size`; a scene's of the canvas's size."""
    first: Array | None = None
    """[1, C, h, w]: the given first frame's latent; only for a root segment. A `ClipFamily` is given what its
    `encode_clip` made of that frame, [n, C, h, w]."""
    anchor: Array | None = None
    """[1, C, h, w]: the video's first latent; None for a root segment."""
    short: Array | None = None
    """[`history_latents`, C, h, w]: the newest latents, oldest first; None for a root segment. A `ClipFamily` is given
    what its `encode_continued` made of them, [n, C, h, w]."""
    blank: Array | None = None
    """[n, C, h, w]: a clip of which no frame is known; for a `ClipFamily` that takes one."""
    memory: tuple[Array, ...] = ()
    """Each [C, h, w]: the latents that the plan names as memory, in its order."""
    image: bool = False
    """Only the picture is wanted that a video would begin with: for a family with `Capabilities.image_latents`."""
    effective_prompt: str = ""
    """The caption, for a family that reads it where the segment begins."""
    before: Before | None = None
    """What its plan was made from; None for a family that plans nothing of its own."""

    @property
    def is_root(self) -> bool:
        """True for a video's first segment, which has no history."""
        return self.anchor is None and self.short is None


@dataclass
class Denoising:
    """A segment on its way from noise to latents: the sampler's whole state."""

    latents: Array
    """[T, C, h, w], the noised target; more of them where `beside` or `lead` says so."""
    step: int
    """Steps done."""
    times: Array
    """[steps + 1], from 1 to 0."""
    packed: Mapping[str, NDArray[np.generic]] = field(default_factory=dict)
    """Engine inputs that stay the same over the steps."""
    memory: Mapping[str, Array] = field(default_factory=dict)
    """What the sampler remembers of the steps before, by names of its own; a step replaces it and changes none of it.
    A checkpoint keeps it. Empty for a sampler that needs the latents alone."""
    beside: int = 0
    """Latents at the front that are denoised along and are none of the video: they are dropped when it is done."""
    lead: int = 0
    """Latents behind those that show frames from before the segment. They are stored in front of its own, which are
    decoded after them; 0 where the parent's last ones are what the decoder begins with."""
    step_cache: float = 0.0
    """How far predictions that are reused may be off in sum, relative (`step_cache.py`); 0: every step is computed. It
    is set where the segment is begun, and is none of what a checkpoint keeps."""

    @property
    def steps(self) -> int:
        """Steps in all."""
        return len(self.times) - 1

    @property
    def done(self) -> bool:
        """True when the latents are clean."""
        return self.step >= self.steps


class Engines(Protocol):
    """Loaded engines of one model, by component name."""

    def infer(self, component: str, inputs: Mapping[str, NDArray[np.generic]]) -> dict[str, NDArray[np.generic]]:
        """Run one component. Raises `ValueError` naming an input that does not fit the engine's metadata."""


class Family(Protocol):
    """A model family. Methods that need engines take them as first argument; the rest are pure."""

    capabilities: Capabilities
    components: tuple[str, ...]
    """Names of the engines it needs."""
    uses: Mapping[EngineCall, tuple[str, ...]]
    """Which of them each method calls, so that a stage loads no others."""
    lead_latents: int
    """Latents before a segment that the decoder must see again to rebuild its state, where `Denoising.lead` brings
    none; 0 where each segment is decoded for itself."""
    history_latents: int
    """How many of the newest latents `Conditions.short` holds."""

    def roles(self, prompt: str, references: int) -> tuple[Role, ...]:
        """What each of so many reference pictures is taken for. Raises `ValueError` for one that has no place,
        the request's field in front: `references: …`."""

    def read_prompt(
        self,
        prompt: str,
        *,
        seed: int,
        before: Before,
        segments: int = 1,
        subject: Subject = "named",
        inherited: str | None = None,
        negative_prompt: str = "",
    ) -> PromptReading:
        """Understand a prompt for so many segments. `inherited` is the last effective prompt of the video that is
        extended. The negative prompt, which `encode_text` reads, is given for the warnings alone."""

    def plan_history(self, effective_prompt: str, before: Before) -> HistoryPlan:
        """What the segment of this caption is shown of its video. Pure."""

    def read_frame(self, frame: Frames) -> FrameReading:
        """Read a frame of a canvas's size, uint8 [H, W, 3], for a video that is to go on after it."""

    def read_reference(self, picture: Frames, role: Role = "subject") -> ReferenceReading:
        """Read a picture, of `reference_size` or a scene's of the canvas's, as far as this model can carry it."""

    def encode_text(self, engines: Engines, effective_prompt: str, negative_prompt: str = "") -> Array:
        """[tokens, width]. Raises `ValueError` for a negative prompt where `Capabilities` has none."""

    def encode_still(self, engines: Engines, picture: Frames) -> Array:
        """A picture, uint8 [H, W, 3] → its latent [C, h, w]."""

    def encode_video(self, engines: Engines, frames: Frames) -> Array:
        """A video from its first frame, uint8 [F, H, W, 3] → latents [T, C, h, w].

        Raises `ValueError` unless F is `frames_of(T, root=True)` for some T.
        """

    def start(self, conditions: Conditions, *, seed: int, segment: int, steps: int) -> Denoising:
        """Noise for a segment, drawn from (seed, segment) alone, so that any replica draws the same."""

    def step(self, engines: Engines, states: Sequence[Denoising]) -> None:
        """One denoising step of each, in place, in one call of the engine. Their `batch_key`s are equal.

        When it raises, each state is as it was, or a step on.
        """

    def batch_key(self, state: Denoising) -> Hashable:
        """States with equal keys can be stepped together: same shapes, same positions, any time."""

    def decode(self, engines: Engines, latents: Array, *, lead: Array | None) -> Iterator[Frames]:
        """The frames of each latent, uint8 [f, H, W, 3] (`first_latent_frames` of a root's first), in order.

        `lead` [`lead_latents`, or `Denoising.lead`, C, h, w] rebuilds the decoder's state; None at a root.
        """


@runtime_checkable
class PreviewingFamily(Family, Protocol):
    """A family that shows what a segment is becoming while it is on its way, for next to nothing."""

    def preview(self, engines: Engines, latents: Array, memory: Mapping[str, Array]) -> Frames:
        """Of a state's latents and memory → roughly its last frame, uint8 [H, W, 3]. It may be called from another
        thread than `step`, while that runs."""


@runtime_checkable
class TailFamily(Family, Protocol):
    """A family that goes on from a video's first frame and its newest ones: no more of one from elsewhere is
    encoded."""

    def encode_tail(self, engines: Engines, frames: Frames) -> Array:
        """Of a video from elsewhere its newest frames, uint8 [F, H, W, 3], as many as `history_latents` has, or all →
        the latents that an extension is shown as the newest ones, [T, C, h, w]."""


@runtime_checkable
class ClipFamily(TailFamily, Protocol):
    """A family whose denoiser is shown frames where they stand in its clip: the first one, or the last ones of a video
    that is extended."""

    takes_blank: bool
    """Whether it is shown, too, a clip of which no frame is known: `encode_clip` of none."""

    def encode_clip(self, engines: Engines, known: Frames) -> Array:
        """Of a clip's first frames, uint8 [K, H, W, 3], what the denoiser is shown, [n, C, h, w]: in a form of the
        family's own, such as the latents of all the clip, grey where it is to make some."""

    def encode_continued(self, engines: Engines, tail: Array) -> Array:
        """The clip that goes on after a video's newest latents, [n, C, h, w]: it begins with the last frames that they
        show, or that `encode_tail` made. The first of them is one that a video may begin with. Of `encode_clip`'s
        form."""
