"""Counts the steps of a build for who waits. `build.py` makes one."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str, int, int], None]
"""Called with what begins now, steps done and steps in all."""


class Steps:
    """Of one build."""

    def __init__(self, progress: Progress, *, total: int) -> None:
        self._progress = progress
        self._total = total
        self._begun = 0
        self._what = ""

    def begin(self, what: str) -> None:
        """The next one."""
        self._progress(what, self._begun, self._total)
        self._what = what
        self._begun += 1

    def tell(self, detail: str) -> None:
        """What a step is at."""
        self._progress(f"{self._what}: {detail}", self._begun - 1, self._total)

    def finish(self) -> None:
        """All are done."""
        self._progress("done", self._total, self._total)


def silent(what: str, done: int, total: int) -> None:
    """Tell nobody."""
