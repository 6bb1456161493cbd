"""What is told of a create and of a job: spans, their names and attributes, in one table, and who is told.

Nothing of a tracing library is in here. `switch.py` says whether there is one; rooms in between take a `Traces` and do
not know which. A span is told when it is over, as a value. Names are OpenTelemetry's for generative AI where it has
one, else `longtake.*`. No words of a user stand in a span: no prompt, no caption, no name of a file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

from serving.traces.context import TraceContext

Attribute = str | int | float | bool

# ── names of spans ──────────────────────────────────────────────────────────────────────────────────────────

SETTLE = "settle"
"""The request is checked, and its media are taken in."""
ADMIT = "admit"
"""Whether it may queue."""
STORE = "store"
"""The job becomes durable."""
QUEUE = "queue"
"""From the create to the first start."""
ATTEMPT = "attempt"
SEGMENT = "segment"
STAGE = "stage {}"
"""One call to a stage; to the Denoiser, a slice of steps."""
ENCODE = "decode and encode"
UPLOAD = "upload"

# ── attributes ──────────────────────────────────────────────────────────────────────────────────────────────

OPERATION = "gen_ai.operation.name"
"""generate_video or generate_image; the create's span is named after it and the model."""
PROVIDER = "gen_ai.provider.name"
LONGTAKE = "longtake"
REQUEST_MODEL = "gen_ai.request.model"
OUTPUT_TYPE = "gen_ai.output.type"
RESPONSE_ID = "gen_ai.response.id"
"""The job's id, on every span from the create on."""
ERROR_TYPE = "error.type"
TENANT = "longtake.tenant"
REPEATED = "longtake.repeated"
"""The create was resent: the job is another create's, and so is its trace."""
STATE = "longtake.state"
ATTEMPT_NUMBER = "longtake.attempt"
EPOCH = "longtake.epoch"
SEGMENT_INDEX = "longtake.segment"
STAGE_NAME = "longtake.stage"
REPLICA = "longtake.replica"
STEPS = "longtake.steps"
"""Denoising steps that a slice did."""
FROM_STEP = "longtake.from_step"
BATCH = "longtake.batch"
"""Slices that the steps of this one were done together with, itself included: the most at once."""
STEP_SECONDS = "longtake.step_seconds"
"""Compute time of the slice's steps; the rest of its time it waited for its turn."""
RESTORED = "longtake.restored"
PART_SECONDS = "longtake.{}_seconds"
"""Of a rendering, by part."""


@dataclass(frozen=True)
class Span:
    """Something that is over. Times are milliseconds since 1970 UTC."""

    name: str
    at: TraceContext
    """The span itself."""
    parent: str
    """The id of the span that it is a part of; empty at the root of a trace."""
    start_ms: int
    end_ms: int
    attributes: Mapping[str, Attribute] = field(default_factory=dict)
    links: tuple[TraceContext, ...] = ()
    """Spans that it follows and is no part of."""
    error: str = ""
    """Why it did not do what it was for."""
    kind: Literal["server", "internal"] = "internal"


class Traces(Protocol):
    """Where spans go."""

    @property
    def on(self) -> bool:
        """Whether anybody is told. While it is False, nothing needs to be measured."""

    def begin(self, parent: TraceContext | None) -> TraceContext | None:
        """A new span below the caller's, or the first one of a new trace; None while nobody is told."""

    def tell(self, span: Span) -> None:
        """Hand a span on, if its trace is kept. Returns at once, whatever becomes of it."""

    def close(self) -> None:
        """Send what is there, for a bounded time. Blocks."""


class Untraced:
    """Nobody is told."""

    on = False

    def begin(self, parent: TraceContext | None) -> TraceContext | None:  # noqa: ARG002
        """No span."""
        return None

    def tell(self, span: Span) -> None:
        """Forget it."""

    def close(self) -> None:
        """There is nothing to send."""


UNTRACED: Traces = Untraced()
