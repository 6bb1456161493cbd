"""What the segments of one job are conditioned on, as references. `run.py` makes it, `denoising.py` asks.

A caption is embedded once for all segments that share it, and again when the replica that holds the embedding may be
gone.
"""

from __future__ import annotations

from serving.director.attempt import Attempt
from serving.stages.contracts import ConditionCall, TextCall
from serving.stages.interface import Ref, Stages


class Conditions:
    """Of one attempt."""

    def __init__(self, attempt: Attempt, stages: Stages) -> None:
        self._attempt = attempt
        self._stages = stages
        self._text: tuple[str, Ref] | None = None
        """A caption and its embedding."""

    def gather(self, call: ConditionCall) -> Ref:
        """All of it for one segment. What goes wrong inside shows where the reference is used."""
        if self._text is None or self._text[0] != call.effective_prompt:
            record = self._attempt.record
            plan = record.plan
            caption = TextCall(
                record.tenant,
                plan.model,
                plan.model_digest,
                call.effective_prompt,
                record.request.negative_prompt,
                job=record.id,
            )
            self._text = call.effective_prompt, self._stages.embed_text(caption)
        return self._stages.condition(call, self._text[1])

    def forget(self) -> None:
        """A replica went away, perhaps the one that holds the caption's embedding."""
        self._text = None
