"""PromptWriter: the user's words become the caption that the model sees.

For now it is the grammar's reading of the prompt; a language model that rewrites prompts takes this place. It needs no
engines.
"""

from __future__ import annotations

from collections.abc import Callable

from engines.families.base import Family
from serving.stages.contracts import PromptCall, PromptResult


class PromptWriter:
    """One per replica."""

    def __init__(self, family: Callable[[str], Family]) -> None:
        self._family = family

    async def write(self, call: PromptCall) -> PromptResult:
        """Understand a prompt: the same words and seed, at the same place, give the same captions."""
        reading = self._family(call.model).read_prompt(
            call.prompt,
            seed=call.seed,
            before=call.before,
            segments=call.segments,
            subject=call.subject,
            inherited=call.inherited,
        )
        return PromptResult(reading.effective_prompts, reading.warnings)
