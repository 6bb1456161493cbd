"""What a prompt's reading says of it is bounded, however long the prompt is."""

from __future__ import annotations

import pytest

from engines import models
from engines.families.history import Before
from serving.stages.contracts import PromptCall
from serving.stages.prompt import LONGEST_WARNING, MOST_WARNINGS, PromptWriter, bounded

pytestmark = pytest.mark.anyio


async def test_a_prompt_of_nothing_but_faults_has_few_warnings_and_the_last_one_counts_the_rest() -> None:
    family = models.family("sprite-2")
    prompt = ", ".join(f"<ref{number}>" for number in range(1, 1000))[: family.capabilities.max_prompt_chars]
    before = Before(family.capabilities.canvases[0])
    call = PromptCall(model="sprite-2", prompt=prompt, subject="named", seed=1, before=before)
    written = await PromptWriter(lambda _: family).write(call)
    assert len(written.warnings) == MOST_WARNINGS
    assert sum(map(len, written.warnings)) < 1500
    left = int(written.warnings[-1].split()[0])
    assert left + MOST_WARNINGS - 1 == len(set(family.read_prompt(prompt, seed=1, before=before).warnings))


def test_what_fits_is_told_whole_and_what_is_too_long_is_cut() -> None:
    few = tuple(f"not followed: {number}" for number in range(MOST_WARNINGS))
    assert bounded(few) == few
    assert bounded((*few, "another"))[-1] == ("2 more warnings are left out; the effective prompt says what is made")
    (cut,) = bounded(["x" * 10_000])
    assert (len(cut), cut[-1]) == (LONGEST_WARNING, "…")
