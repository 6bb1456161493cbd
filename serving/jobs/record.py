"""The job record: one object per job, moved by compare-and-swap only.

    QUEUED ──claim──▶ RUNNING ──▶ SUCCEEDED
      │                │  │ ├────▶ FAILED        (with the reason; a crashed job leaves a dead letter)
      │                │  │ ├────▶ CANCELLED     (the user asked for it)
      │                │  │ └────▶ EXPIRED       (its deadline passed)
      │                │  └──requeue──▶ QUEUED  (its replica or the store went away)
      │                └──adopt──▶ RUNNING      (a new Director found its lease fresh: the same attempt goes on)
      ├───────────────────────────▶ CANCELLED | EXPIRED | FAILED
      └ any terminal state ───────▶ DELETED     (a tombstone; nothing follows)

While RUNNING, `phase` tells where the current segment stands: prompt → conditioning → denoising → rendering.
The front door creates, cancels and deletes; the Director does all else, under its epoch. What happened to a job stands
in `events` (`history.py`), written by the same swaps.

During an upgrade others read and write it too: fields that this version does not know stay as they are in every swap.
"""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field

from serving.frozen import Digest, Moment, Stored, ToldMoment
from serving.jobs.history import Event, Prediction
from serving.jobs.ids import JobKey
from serving.plan import Plan
from serving.requests import VideoRequest

URGENT, DEFAULT_PRIORITY, LOWEST_PRIORITY = 0, 5, 9
"""Priorities: a smaller number is more urgent."""


class JobState(StrEnum):
    """Where a job is in its life."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    DELETED = "deleted"

    @property
    def terminal(self) -> bool:
        """True when nothing but deletion follows."""
        return self not in (JobState.QUEUED, JobState.RUNNING)


class Phase(StrEnum):
    """What a running job is doing for its current segment."""

    PROMPT = "prompt"
    CONDITIONING = "conditioning"
    DENOISING = "denoising"
    RENDERING = "rendering"


_ENDS = frozenset({JobState.FAILED, JobState.CANCELLED, JobState.EXPIRED})
TRANSITIONS: dict[JobState, frozenset[JobState]] = {
    JobState.QUEUED: frozenset({JobState.QUEUED, JobState.RUNNING}) | _ENDS,
    JobState.RUNNING: frozenset({JobState.RUNNING, JobState.QUEUED, JobState.SUCCEEDED}) | _ENDS,
    JobState.SUCCEEDED: frozenset({JobState.DELETED}),
    **dict.fromkeys(_ENDS, frozenset({JobState.DELETED})),
    JobState.DELETED: frozenset(),
}
"""Which state may follow which. A state may follow itself only while it is not terminal."""


class JobError(Stored):
    """Why a job failed: a stable word and a sentence."""

    code: str
    message: str


class JobRecord(Stored):
    """All that is known of a job. Times are milliseconds since 1970 UTC."""

    id: str
    tenant: str
    api_key_id: str = ""
    version: int = 0
    """Grows by one with every write."""
    nonce: str = ""
    """Fresh with every write, so that equal contents never have equal versions."""
    request: VideoRequest
    plan: Plan
    idempotency_key: str = ""
    draft: str = ""
    """Digest of the create as it came in (`frontdoor/create/drafts.py`): a resent one is known by it."""
    state: JobState = JobState.QUEUED
    phase: Phase | None = None
    attempt: int = 0
    crashes: int = 0
    """Attempts that ended with their worker since a segment was last committed."""
    faults: int = 0
    """Attempts that ended in an unexpected error."""
    requeue_of: str = ""
    """The dead letter that this job does again."""
    traceparent: str = ""
    """The span of its create (`serving/traces/context.py`): whoever works on it goes on with that trace. Empty where
    nothing was traced."""
    epoch: int = 0
    """Epoch of the Director that wrote it last."""
    priority: int = Field(default=DEFAULT_PRIORITY, ge=URGENT, le=LOWEST_PRIORITY)
    """`URGENT` to `LOWEST_PRIORITY`."""
    deadline_ms: Moment | None = None
    """The job is EXPIRED when it is not done by then."""
    expires_ms: ToldMoment | None = None
    """The video is deleted some time after this; None: kept."""
    predicted: Prediction | None = None
    """What the front door told the client when it took the job."""
    created_ms: Moment
    started_ms: ToldMoment | None = None
    finished_ms: ToldMoment | None = None
    cancel_requested: bool = False
    segments: tuple[Digest, ...] = ()
    """Manifests that this job has committed, oldest first (an ingested root included)."""
    images: tuple[Digest, ...] = ()
    """PNG blobs of an image job."""
    steps_done: int = Field(default=0, ge=0)
    """Denoising steps of the committed segments."""
    steps_reused: int = Field(default=0, ge=0)
    """Of these, those whose prediction was reused and not computed."""
    effective_prompt: str = ""
    """What the model sees, in all."""
    captions: tuple[str, ...] = ()
    """What it sees of each segment, where they differ."""
    effective_references: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    error: JobError | None = None
    events: tuple[Event, ...] = ()
    """Its life so far, oldest first; the middle of a very long one is left out (`history.py`)."""

    @property
    def key(self) -> JobKey:
        """Its tenant and id."""
        return self.tenant, self.id

    def caption(self, segment: int) -> str:
        """What the model sees of a segment, by its place in the video; of an image, in the plan."""
        return self.captions[segment - self.plan.segments[0].index] if self.captions else self.effective_prompt

    @property
    def may_come_again(self) -> bool:
        """Whether another create may use its id, which then is no random one: the same key is sent, or the same dead
        letter is run, once more."""
        return bool(self.idempotency_key or self.requeue_of)

    @property
    def head(self) -> str | None:
        """The newest manifest of this job's video: its own, else the one it extends."""
        if self.segments:
            return self.segments[-1]
        return self.request.extends.segment if self.request.extends else None

    def not_understood(self) -> tuple[str, ...]:
        """What a later version's request or plan asks for and this version cannot do. It may wait, or end."""
        parts = {"request": self.request, "plan": self.plan}
        return tuple(f"{name}.{field}" for name, part in parts.items() for field in part.unknown())

    def encode(self) -> bytes:
        """The bytes that the store holds."""
        return self.model_dump_json().encode()

    @classmethod
    def decode(cls, data: bytes) -> JobRecord:
        """Read a record. Raises pydantic's `ValidationError` for bytes that are none."""
        return cls.model_validate_json(data)
