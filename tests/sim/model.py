"""A model so small that a video costs microseconds, and what a job must yield with it.

Every byte is a pure function of all that decides it: conditions, seed, segment, steps, the latents before. So a wrong
resume, a torn checkpoint or a stale parent shows as another digest. `expected` computes a job's result with no
Director, no store and no slices.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from engines.families.base import (
    Array,
    Conditions,
    Denoising,
    EngineCall,
    Engines,
    FrameReading,
    Frames,
    PromptReading,
    ReferenceReading,
    Subject,
)
from engines.families.capabilities import Canvas, Capabilities, Range, Role
from engines.families.history import Before, HistoryPlan, Source, anchored
from serving.jobs.record import JobRecord
from serving.requests import Kind

MODEL = "tiny"
DIGEST = hashlib.sha256(b"tiny").hexdigest()
CAPABILITIES = Capabilities(
    model=MODEL,
    family="tiny",
    description="for the simulation",
    canvases=(Canvas("1:1", 8, 8),),
    resolutions={"480p": 1},
    image_resolutions={"1k": 8},
    fps=4,
    latent_channels=2,
    latent_stride=8,
    frames_per_latent=4,
    first_latent_frames=1,
    root_latents=2,
    segment_latents=1,
    seconds=Range(1, 4, 1),
    extension_seconds=Range(1, 4, 1),
    steps=Range(1, 24, 3),
    reference_size=(8, 8),
    references_max=1,
    max_prompt_chars=200,
)


DIRECTED = "directed"
"""Begins the captions of a video whose segments have one each."""
KEPT = 3
"""Latents that such a video remembers."""


class TinyFamily:
    """Implements `engines.families.base.Family`."""

    capabilities = CAPABILITIES
    components: tuple[str, ...] = ()
    uses: Mapping[EngineCall, tuple[str, ...]] = {"encode_text": (), "encode_video": (), "step": (), "decode": ()}
    lead_latents = 1
    history_latents = 2

    def roles(self, prompt: str, references: int) -> tuple[Role, ...]:
        return tuple("subject" for _ in range(references))

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
        scene, _, _ = prompt.partition(" | ")  # what stands behind it tells requests apart, and is not seen
        if seed % 3:
            return PromptReading((inherited or f"{subject} {scene} {seed}",))
        # Every third video is one whose segments are told apart, and remember each other.
        return PromptReading(tuple(f"{DIRECTED} {scene} {seed} {number}" for number in range(segments)))

    def plan_history(self, effective_prompt: str, before: Before) -> HistoryPlan:
        plan = anchored(before, newest=self.history_latents, latent_tokens=1, reference_tokens=1)
        if not effective_prompt.startswith(DIRECTED):
            return plan
        known = [int(number) for number in before.facts.split()]
        memory = tuple(Source("memory", (number,), 1) for number in known)
        keep = (*known, before.latents)[-KEPT:]
        return HistoryPlan((*plan.sources, *memory), keep, " ".join(map(str, keep)))

    def read_frame(self, frame: Frames) -> FrameReading:
        return FrameReading()

    def read_reference(self, picture: Frames, role: Role = "subject") -> ReferenceReading:
        return ReferenceReading(picture[::-1], description=f"{len(picture)} bytes")

    def encode_text(self, engines: Engines, effective_prompt: str, negative_prompt: str = "") -> Array:
        return _numbers(effective_prompt.encode(), (2, 4))

    def encode_still(self, engines: Engines, picture: Frames) -> Array:
        return _numbers(picture.tobytes(), (2, 1, 1))

    def encode_video(self, engines: Engines, frames: Frames) -> Array:
        raise NotImplementedError

    def start(self, conditions: Conditions, *, seed: int, segment: int, steps: int) -> Denoising:
        given = (
            conditions.text,
            *conditions.references,
            conditions.first,
            conditions.anchor,
            conditions.short,
            *conditions.memory,
        )
        known = b"|".join(array.tobytes() if array is not None else b"-" for array in given)
        count = CAPABILITIES.root_latents if conditions.is_root else CAPABILITIES.segment_latents
        beside = seed % 2  # every other video is one of a family that denoises more than it keeps
        lead = 0 if conditions.is_root else beside
        return Denoising(
            latents=_numbers(f"{seed}/{segment}".encode(), (beside + lead + count, 2, 1, 1)),
            step=0,
            times=_TIMES[steps],
            packed={"given": _numbers(known, (1, 2, 1, 1))},
            beside=beside,
            lead=lead,
        )

    def step(self, engines: Engines | None, states: Sequence[Denoising]) -> None:
        for state in states:
            given = state.packed["given"]
            half = state.latents.astype(np.float32) * np.float32(0.5)
            state.latents = half + given.astype(np.float32) * np.float32(state.step + 1)
            state.step += 1

    def batch_key(self, state: Denoising) -> Any:
        return state.latents.shape

    def decode(self, engines: Engines, latents: Array, *, lead: Array | None) -> Iterator[Frames]:
        raise NotImplementedError


_TIMES = {
    steps: np.linspace(1, 0, steps + 1, dtype=np.float32)
    for steps in range(CAPABILITIES.steps.min, CAPABILITIES.steps.max + 1)
}
FAMILY = TinyFamily()


@dataclass(frozen=True)
class TinySession:
    """What the stages use of `engines.session.Session`."""

    family: TinyFamily = FAMILY
    digest: str = DIGEST

    def infer(self, component: str, inputs: Mapping[str, NDArray[np.generic]]) -> dict[str, NDArray[np.generic]]:
        raise NotImplementedError


def film(latents: Array, lead: Array | None, start_frame: int, sequence_start: int) -> bytes:
    """A segment's media."""
    where = f"{start_frame}/{sequence_start}".encode()
    return b"film" + hashlib.sha256(latents.tobytes() + (lead.tobytes() if lead is not None else b"") + where).digest()


def picture(latents: Array) -> bytes:
    """An image, or a thumbnail."""
    return b"picture" + hashlib.sha256(latents[:1].tobytes()).digest()


def frames_of(latents: Array, lead: Array | None) -> int:
    """How many frames they decode to."""
    return 4 * len(latents) - (3 if lead is None else 0)


def digest_of(latents: Array) -> str:
    """Their blob's name."""
    return hashlib.sha256(save({"latents": np.ascontiguousarray(latents, dtype=np.float32)})).hexdigest()


@dataclass(frozen=True)
class Made:
    """A segment, or an image."""

    steps: tuple[Array, ...]
    """The latents after each step, noise first."""
    beside: int
    lead: int
    anchor: Array
    references: tuple[Array, ...]
    caption: str
    facts: str
    kept: Mapping[int, Array]
    count: int
    """Latents of the video up to its end."""
    media: str
    """Digest of the film or picture."""
    end_frame: int

    @property
    def stored(self) -> Array:
        """The clean ones, those that it is decoded behind in front."""
        return self.steps[-1][self.beside :]

    @property
    def latents(self) -> Array:
        """Its own."""
        return self.stored[self.lead :]


def expected(record: JobRecord, parent: Made | None, picture_of: Callable[[str, str], bytes]) -> list[Made]:
    """What the job must make, if it follows `parent`. `picture_of` finds a picture by tenant and digest."""
    plan, request = record.plan, record.request
    pictures = [np.frombuffer(picture_of(record.tenant, digest), np.uint8) for digest in request.references]
    references = tuple(FAMILY.encode_still(TinySession(), FAMILY.read_reference(one).picture) for one in pictures)
    if parent is not None and not references:
        references = parent.references
    first = None
    if request.first_frame:
        still = np.frombuffer(picture_of(record.tenant, request.first_frame), np.uint8)
        first = FAMILY.encode_still(TinySession(), still)[None]
    subject: Subject = "reference" if references else "frame" if request.first_frame else "named"
    canvas = CAPABILITIES.canvases[0]
    captions = FAMILY.read_prompt(
        request.prompt,
        seed=plan.seed,
        before=Before(canvas),
        segments=len(plan.segments) if request.kind is Kind.VIDEO else 1,
        subject=subject,
        inherited=parent.caption if parent else None,
    ).effective_prompts
    made: list[Made] = []
    before = parent
    for place, planned in enumerate(plan.segments):
        if request.kind is Kind.IMAGE:
            before = None
        caption = captions[place] if len(captions) > 1 else captions[0]
        where = Before(canvas, before.count, before.facts) if before else Before(canvas)
        told = FAMILY.plan_history(caption, where)
        short = before.stored[-2:] if before else None
        conditions = Conditions(
            canvas=canvas,
            text=FAMILY.encode_text(TinySession(), caption),
            references=references,
            first=None if before else first,
            anchor=before.anchor if before else None,
            short=short,
            memory=tuple(before.kept[number] for number in told.of("memory")) if before else (),
        )
        state = FAMILY.start(conditions, seed=plan.seed, segment=planned.index, steps=plan.steps)
        steps = [state.latents]
        while not state.done:
            FAMILY.step(None, [state])
            steps.append(state.latents)
        stored = state.latents[state.beside :]
        brought, own = stored[: state.lead], stored[state.lead :]
        lead = brought if state.lead else before.latents[-1:] if before else None
        if request.kind is Kind.IMAGE:
            media = picture(own)
        else:
            media = film(own, lead, before.end_frame if before else 0, planned.index)
        anchor = before.anchor if before else own[:1]
        end_frame = (before.end_frame if before else 0) + planned.frames
        made_of = tuple(steps), state.beside, state.lead
        known = {**(before.kept if before else {}), **dict(enumerate(own, where.latents))}
        remembered = told.facts, {number: known[number] for number in told.keep}, where.latents + len(own)
        before = Made(*made_of, anchor, references, caption, *remembered, hashlib.sha256(media).hexdigest(), end_frame)
        made.append(before)
    return made


def _numbers(seed: bytes, shape: tuple[int, ...]) -> Array:
    """Floats in 0..1 that hang on every bit of `seed`."""
    raw = hashlib.shake_128(seed).digest(math.prod(shape))
    return (np.frombuffer(raw, np.uint8).astype(np.float32) / np.float32(255)).reshape(shape)
