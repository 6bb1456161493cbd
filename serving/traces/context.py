"""Where in a trace something stands, in the words of W3C's Trace Context. Pure.

The front door reads a caller's `traceparent` here and keeps its own in the job's record; whoever works on the job later
reads that. Of a caller nothing is believed beyond the grammar: what does not keep to it is no context.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

_VERSION_0 = "00"
_FORM = re.compile(
    r"(?P<version>(?!ff)[0-9a-f]{2})-(?P<trace>[0-9a-f]{32})-(?P<span>[0-9a-f]{16})-(?P<flags>[0-9a-f]{2})"
)
_SAMPLED = 1


@dataclass(frozen=True)
class TraceContext:
    """One span of one trace."""

    trace_id: str
    """32 hex digits, not all zero."""
    span_id: str
    """16 hex digits, not all zero."""
    sampled: bool
    """Whether the trace is kept: decided once, where it began."""

    @property
    def traceparent(self) -> str:
        """As the header has it."""
        return f"{_VERSION_0}-{self.trace_id}-{self.span_id}-{int(self.sampled):02x}"

    def of(self, *place: str | int) -> TraceContext:
        """The span of this place below this one. Its id follows from this one and the place alone: processes that never
        spoke with each other name the same span."""
        digest = hashlib.sha256("/".join((self.trace_id, self.span_id, *map(str, place))).encode()).hexdigest()
        return TraceContext(self.trace_id, digest[:16], self.sampled)


def parse(traceparent: str) -> TraceContext | None:
    """The context that a `traceparent` names; None for what is none. Of a later version its first four parts count."""
    form = _FORM.match(traceparent)
    if form is None:
        return None
    rest = traceparent[form.end() :]
    if rest and (form["version"] == _VERSION_0 or not rest.startswith("-")):
        return None
    if not form["trace"].strip("0") or not form["span"].strip("0"):
        return None
    return TraceContext(form["trace"], form["span"], bool(int(form["flags"], 16) & _SAMPLED))
