"""What the Director and the stages say to each other: small typed records, and nothing of Ray.

The Director handles keys and never bytes. Arrays (conditions, latents) go from stage to stage by object reference: the
Director holds the reference that a call returned and hands it on unread. Every output that must survive is in the store
under a digest that the small result names.

    PromptWriter.write(PromptCall)                 → PromptResult
    TextEncoder.embed(TextCall)                    → [tokens, width] float32      (by reference)
    Conditioner.read_inputs(InputsCall)            → InputsResult
    Conditioner.ingest(IngestCall)                 → IngestResult                 (foreign video → root segment's blobs)
    Conditioner.condition(ConditionCall, text)     → Conditions                   (by reference)
    Denoiser.run_slice(SliceCall, conditions)      → SliceResult
    Denoiser.take_latents(TakeCall)                → [T, C, h, w] float32         (by reference; same replica)
    Denoiser.cancel(CancelCall)                    → None
    Renderer.render(RenderCall, latents)           → RenderResult
    Renderer.render_image(ImageCall, latents)      → ImageResult

T, C, h and w are those of `engines.families.base`: latents, their channels, and a canvas's latents.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from engines.families.base import Subject
from engines.families.capabilities import Role
from engines.families.history import Before
from serving.errors import LongtakeError
from serving.media.track import Track
from serving.segments.manifest import LatentRef, ManifestCanvas, MediaPart
from serving.stage_names import StageName

Rank = tuple[float, ...]
"""The Denoiser's loop takes its next step from the slice of lowest rank."""

RENDERS_AT_ONCE = 2
"""Calls that a Renderer works on: while one decodes and encodes on all cores, another one's media are stored."""

INGESTS_AT_ONCE = 2
"""Videos from elsewhere that a Conditioner takes in: each decodes and encodes for minutes, and holds what it made in
memory. Pictures and conditions never wait for them."""


AwayCause = Literal["no_replica", "full", "unreachable", "keeps_ending"]
"""Why a stage does no work: none of its replicas is up; all their places are taken; a call or its answer was lost on
the way; the replicas end under whatever they are given (`director/stage_health.py` finds that out)."""


class StageLost(LongtakeError):
    """The replica that ran this very call died, or fell silent. Perhaps by the work, perhaps not: do it again, and
    count.
    """

    reason = "STAGE_LOST"

    def __init__(
        self,
        message: str,
        *,
        stage: StageName | None = None,
        died: str = "",
        silent_at: tuple[int, int] | None = None,
    ) -> None:
        """`stage`: whose replica it was, where that is known; a stage may have asked for another one's result.

        `died`: which replica it was, where that is known for sure. It dies once, and several calls are told of it.
        `silent_at`: nobody saw it die. It was not heard of, and this segment and step are the last that it told of.
        """
        super().__init__(message)
        self.stage = stage
        self.died = died
        self.silent_at = silent_at


class StageAway(LongtakeError):
    """The stage did not do a call, and that says nothing of the work: wait, do it again, and count nothing."""

    reason = "STAGE_AWAY"

    def __init__(
        self,
        message: str,
        *,
        cause: AwayCause = "unreachable",
        stage: StageName | None = None,
        may_have_begun: bool = False,
    ) -> None:
        """`stage`: as of `StageLost`. `may_have_begun`: perhaps it is still being done, under this attempt's lease."""
        super().__init__(message)
        self.cause: AwayCause = cause
        self.stage = stage
        self.may_have_begun = may_have_begun


@dataclass(frozen=True)
class PromptCall:
    """Understand a prompt once per job."""

    model: str
    prompt: str
    subject: Subject
    seed: int
    before: Before
    """Where the job's first segment begins."""
    segments: int = 1
    """To write captions for; images share one."""
    inherited: str | None = None
    """Effective prompt of the video that is extended."""
    negative_prompt: str = ""
    """What of it is not read is told, too."""
    tenant: str = field(default="", repr=False, compare=False)
    job: str = field(default="", repr=False, compare=False)
    """Whose work it is, for the log alone."""


@dataclass(frozen=True)
class PromptResult:
    """What the model will see, and what became of the user's words."""

    effective_prompts: tuple[str, ...]
    """Of each segment, or the one of all."""
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class TextCall:
    """Embed a caption; cached by (model digest, caption, negative prompt) within the tenant."""

    tenant: str
    model: str
    model_digest: str
    effective_prompt: str
    negative_prompt: str = ""
    job: str = field(default="", repr=False, compare=False)
    """Whose work it is, for the log alone."""


@dataclass(frozen=True)
class InputsCall:
    """Read and encode a job's pictures once; latents are cached by content."""

    tenant: str
    model: str
    model_digest: str
    canvas: ManifestCanvas
    first_frame: str | None = None
    """Blob digest of the picture."""
    references: tuple[str, ...] = ()
    roles: tuple[Role, ...] = ()
    """What each reference is taken for; a subject where nothing is said."""
    job: str = field(default="", repr=False, compare=False)
    """Whose work it is, for the log alone."""


@dataclass(frozen=True)
class InputsResult:
    """Latents of the pictures, and what was read from them."""

    first_frame: LatentRef | None = None
    references: tuple[LatentRef, ...] = ()
    effective_references: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    first_facts: str = ""
    """`FrameReading.facts` of the first frame."""
    reference_facts: tuple[str, ...] = ()
    """`ReferenceReading.facts` of each."""


@dataclass(frozen=True)
class IngestCall:
    """Turn a foreign video into the blobs of a root segment."""

    tenant: str
    model: str
    blob: str
    canvas: ManifestCanvas
    track: Track
    job: str = field(default="", repr=False, compare=False)
    """Whose work it is, for the log alone."""


@dataclass(frozen=True)
class IngestResult:
    """A foreign video's latents and media."""

    frames: int
    latents: LatentRef
    anchor: LatentRef
    tail: LatentRef
    init: str
    media: MediaPart
    thumbnail: str
    warnings: tuple[str, ...] = ()
    facts: str = ""
    """`FrameReading.facts` of its last frame."""


@dataclass(frozen=True)
class ConditionCall:
    """Gather all that one segment is conditioned on."""

    tenant: str
    model: str
    canvas: ManifestCanvas
    first_frame: LatentRef | None = None
    """Only for a root."""
    references: tuple[LatentRef, ...] = ()
    anchor: LatentRef | None = None
    """None for a root."""
    tail: LatentRef | None = None
    """The newest latents; None for a root. What a family gets of them is called `short` in its `Conditions`."""
    memory: tuple[LatentRef, ...] = field(default=(), repr=False)
    """Earlier latents that the plan names."""
    image: bool = field(default=False, repr=False)
    """The segment is an image."""
    effective_prompt: str = field(default="", repr=False)
    before: Before | None = field(default=None, repr=False)
    """What the plan was made from, for a family that plans by facts of its own."""
    job: str = field(default="", repr=False, compare=False)
    """Whose work it is, for the log alone: it decides nothing, and is not in what `fingerprint` reads."""


@dataclass(frozen=True)
class SliceCall:
    """Run steps of one segment until they are done or the slice's time is over (at least one step)."""

    tenant: str
    job: str
    attempt: int
    epoch: int
    """Of the Director that sends it: a replica that knows a newer one refuses."""
    model: str
    segment: int
    """Its place in the whole video: noise is drawn from (seed, segment)."""
    seed: int
    steps: int
    fingerprint: str
    """Of all that decides the latents; a checkpoint of another one is refused."""
    resume: bool = False
    """Look for a checkpoint when the replica does not hold the segment: it has been worked on before."""
    rank: Rank = ()
    """The replica's loop takes its next step from the slice of lowest rank."""
    budget_s: float = 5.0
    replica: str | None = None
    """Unique id of the replica that holds this segment's latents; None for the first slice."""
    step_cache: float = 0.0
    """As the plan has it."""


@dataclass(frozen=True)
class SliceResult:
    """How far a segment has come."""

    steps_done: int
    done: bool
    replica: str
    """Unique id of the replica that ran it: the next slice goes there."""
    latents: LatentRef | None = None
    """The stored latents, when done."""
    cancelled: bool = False
    stale: bool = False
    """The lease is lost, though the replica lives, or a newer Director has started: the caller's attempt is over."""
    from_step: int = 0
    """Where the slice began."""
    restored: bool = False
    """It began from a checkpoint."""
    step_seconds: float = 0.0
    """Compute time of the slice's steps, for estimates and metrics."""
    preview: str = ""
    """The digest of a picture of the unfinished segment, as it was when it was drawn last. Empty: there is none."""
    together: int = 1
    """Slices that the steps of this one were done together with, itself included: the most at once."""
    steps_reused: int = 0
    """Of all steps so far, those whose prediction was not computed."""


@dataclass(frozen=True)
class TakeCall:
    """Hand over the latents of a finished segment, once."""

    tenant: str
    job: str
    attempt: int
    segment: int
    replica: str
    stored: LatentRef
    """The same latents in the store, for a replica that does not hold them."""
    last: bool = False
    """The job's last segment: the replica may let its lease go."""


@dataclass(frozen=True)
class CancelCall:
    """Stop a job's slices before their next step."""

    job: str
    replica: str
    epoch: int | None = None
    """Of the Director that sends it: a replica that knows a newer one does nothing. None from an earlier version."""
    attempt: int = 0
    """Its slices that come later than this are not run either. 0 from an earlier version, which names none."""


@dataclass(frozen=True)
class RenderCall:
    """Decode latents and encode them into the track's fragments."""

    tenant: str
    job: str
    model: str
    track: Track
    start_frame: int
    """Frames of the video before this segment."""
    sequence_start: int
    """Fragments of the video before this segment."""
    lead: LatentRef | None = None
    """Latents before the segment, from which the decoder's state is rebuilt; None at a root."""


@dataclass(frozen=True)
class RenderResult:
    """A segment's media, durable."""

    frames: int
    init: str
    media: MediaPart
    thumbnail: str
    seconds: dict[str, float] = field(default_factory=dict)
    """Time by part: decode, encode, upload."""


@dataclass(frozen=True)
class ImageCall:
    """Decode the first frame of a root segment and enlarge it into a PNG."""

    tenant: str
    job: str
    model: str
    longest_side: int
    """Pixels, at most: the frame is enlarged by a whole factor."""


@dataclass(frozen=True)
class ImageResult:
    """A PNG, durable."""

    image: str
    width: int
    height: int
