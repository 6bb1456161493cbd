"""What a chunk of a Helios is shown of its video: its first latent, and the 19 newest ones. Pure.

The newest ones lie in several segments, of 9 latents each. Those of the newest segment come as the newest ones, those
before it as memory; each plan keeps what the next one will ask for, 10 at most. A video from elsewhere has them all in
its tail.
"""

from __future__ import annotations

from typing import Final

from engines.families.helios.architecture import CHUNK, HISTORY, LONG, MIDDLE, NEWEST
from engines.families.history import Before, HistoryPlan, Source

_HERE: Final = "chunk"
"""The facts of a plan: the newest latents are those of a segment that was made here."""


def plan(before: Before, *, latent_tokens: int) -> HistoryPlan:
    """Of the next segment. `latent_tokens`: of a latent at its own scale."""
    count = before.latents
    if not count:
        return HistoryPlan(facts=_HERE)
    first = max(0, count - HISTORY)
    newest = max(first, count - CHUNK) if before.facts == _HERE else first
    memory = Source("memory", tuple(range(first, newest)), _tokens(first, newest, count, latent_tokens))
    return HistoryPlan(
        (
            *([memory] if newest > first else []),
            Source("anchor", (0,), latent_tokens),
            Source("newest", tuple(range(newest, count)), _tokens(newest, count, count, latent_tokens)),
        ),
        keep=tuple(range(max(0, count + CHUNK - HISTORY), count)),
        facts=_HERE,
    )


def _tokens(begin: int, end: int, count: int, latent_tokens: int) -> int:
    """Of latents among so many, rounded up: the older ones are shown at a half and a quarter of the scale."""
    ages = range(count - end, count - begin)
    scales = (1 if age < NEWEST else 8 if age < NEWEST + MIDDLE else 64 for age in ages)
    assert len(ages) <= NEWEST + MIDDLE + LONG
    return -int(-sum(latent_tokens / scale for scale in scales) // 1)
