"""PromptWriter: the user's words become the caption that the model sees.

For now it is the grammar's reading of the prompt; a language model that rewrites prompts takes this place. It needs no
engines.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from engines.families.base import Family
from serving.stages.contracts import PromptCall, PromptResult

MOST_WARNINGS: Final = 12
"""Of a prompt: each of its words may have one, and all of them are kept with the job and shown with the video."""
LONGEST_WARNING: Final = 400
"""In characters."""


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
            negative_prompt=call.negative_prompt,
        )
        return PromptResult(reading.effective_prompts, bounded(reading.warnings))


def bounded(warnings: Sequence[str]) -> tuple[str, ...]:
    """The first ones, each once and none too long; where there are more, the last one says how many are left out."""
    said = dict.fromkeys(warnings)
    kept = [text if len(text) <= LONGEST_WARNING else f"{text[: LONGEST_WARNING - 1]}…" for text in said]
    if len(kept) <= MOST_WARNINGS:
        return tuple(kept)
    left = len(kept) - MOST_WARNINGS + 1
    return (*kept[: MOST_WARNINGS - 1], f"{left} more warnings are left out; the effective prompt says what is made")
