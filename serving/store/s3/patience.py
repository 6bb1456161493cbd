"""How long a request to an S3 server is tried again. One for each call of the store; `store.py` asks."""

from __future__ import annotations

import asyncio
import random

TRIES = 4
WITHIN_S = 30.0
"""No try is begun later than this after the first."""


class Patience:
    """Back off with jitter, or as long as the server asks; there is an end to both."""

    def __init__(self) -> None:
        self._tried = 1
        self._ends = _now() + WITHIN_S

    @property
    def first(self) -> bool:
        """Whether the first try is under way."""
        return self._tried == 1

    async def again(self, hint_s: float | None) -> bool:
        """Wait before the next try; False, at once, when there is to be none.

        0.1, 0.2, 0.4 s and half as much again at most; what the server asks for is a lower bound.
        """
        pause_s = 0.05 * 2**self._tried * (1 + random.random() / 2)  # noqa: S311  (no secret)
        if hint_s is not None:
            pause_s = max(pause_s, hint_s * (1 + random.random() / 4))  # noqa: S311
        if self._tried == TRIES or _now() + pause_s > self._ends:
            return False
        self._tried += 1
        await asyncio.sleep(pause_s)
        return True


def _now() -> float:
    return asyncio.get_running_loop().time()
