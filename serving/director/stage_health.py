"""Is it the job or the stage? What the calls to one stage tell of it, judged by rules. Pure.

`stage_gate.py` keeps one of these for each stage, and holds calls back while it is away.

    no replica takes calls      → the stage is away
    a job loses its worker      → the job is blamed, unless the stage is at fault:
      it has done nothing since the Director started; or, since it last finished something, `DIFFERENT` jobs have lost
      their workers alone, or `DIFFERENT` replicas have died and nobody was at all of them
      → it is away, for it keeps ending its workers, and no job is blamed
    a call is finished          → the stage is sound, and nobody is suspected of anything

Several calls are told of one death, one after the other. So who was there is known when another replica dies: the
newest death does not tell yet. Some are told only after the stage did more: that death is over, and does not come back
as one at which nobody was but them.

An away stage is tried by one call at a time, after pauses that grow. Of one that keeps ending its workers, a job that
has lost none there tries first, and at once if the last try was by one that had. If it gets through, the others are to
blame after all: one loss of theirs counts.

What cannot be told: one job that always dies on a stage that worked before is ended by `attempt.MAX_CRASHES`, though
the stage may have broken just then; several such jobs and no other one wait until an operator or other jobs come.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from serving.stages.contracts import AwayCause

DIFFERENT = 2
"""Deaths, one after the other, that no single job explains."""
SETTLED = 1000
"""So many deaths that are over are known by their names: more than come between one and the last word of it."""
FIRST_PAUSE_S = 0.2
LONGEST_PAUSE_S = 10.0


@dataclass(frozen=True)
class Away:
    """The stage does no work."""

    cause: AwayCause
    text: str
    since: float
    """In seconds of the clock that is handed in."""


@dataclass
class StageHealth:
    """Of one stage. `chance`: 0 to 1, so that many Directors and stages do not try all at once."""

    chance: Callable[[], float]
    away: Away | None = None
    suspected: set[str] = field(default_factory=set)
    """Who lost a worker here, alone, since the stage last finished something."""
    deaths: dict[str, set[str]] = field(default_factory=dict)
    """Replicas that died since then, in their order, and who is known to have been there."""
    settled: deque[str] = field(default_factory=lambda: deque(maxlen=SETTLED))
    """Replicas that died before that, or before it was up again."""
    next_try: float = 0.0
    finishes: int = 0
    """How often it did a piece of work to its end."""
    acquittals: int = 0
    """How often it was held to be at fault, and then somebody who had lost nothing there got through."""
    _at_fault: bool = False
    _tries: int = 0
    _in_vain: bool = False
    """The last try would have gone no better by anybody else: nobody took it, or it ended one that had lost nothing."""

    def refused(self, cause: AwayCause, text: str, now: float) -> None:
        """No replica did a call."""
        self._in_vain = True
        self._hold(cause, text, now)

    def lost(self, who: str, now: float, *, alone: bool, proven: bool, died: str = "") -> bool:
        """`who` lost a worker; True when that is to be held against him.

        `alone`: nobody else can have ended it, as far as is known. `proven`: the stage has worked before. `died`: which
        replica it was, where that is known; it dies once, and several may be told of it.
        """
        self._in_vain = self.prefers(who)
        if died not in self.settled:
            self._note(who, alone=alone, died=died)
        by_itself = alone and (len(self.suspected) >= DIFFERENT or not proven)
        if self.away is None and not by_itself and self._somebody_was_at_all_deaths():
            return True
        self._at_fault = True
        self._hold("keeps_ending", "workers ended one after the other, and no one job was at all of them", now)
        return False

    def _note(self, who: str, *, alone: bool, died: str) -> None:
        if alone:
            self.suspected.add(who)
        if died:
            self.deaths.setdefault(died, set()).add(who)

    def _somebody_was_at_all_deaths(self) -> bool:
        """But for the newest one; true while there are too few."""
        before = list(self.deaths.values())[:-1]
        return len(before) < DIFFERENT or bool(set.intersection(*before))

    def up(self) -> Away | None:
        """A replica takes calls, or gave an answer. Returns what is over, if anything is.

        Deaths that jobs shared are judged anew: one of them may not have been told of all that died under it, and would
        be excused again and again.
        """
        self._settle()
        over, self.away = self.away, None
        return over

    def finished(self, who: str) -> None:
        """A piece of work was done from its beginning to its end."""
        self.finishes += 1
        self.acquittals += self._at_fault and who not in self.suspected
        self._at_fault = False
        self.suspected.clear()
        self._settle()
        self._tries = 0

    def _settle(self) -> None:
        """The deaths so far show nothing any more, not with later ones either."""
        self.settled.extend(self.deaths)
        self.deaths.clear()

    def may_try(self, who: str, now: float) -> bool:
        """Whether it is time for a try by `who`, if nobody else tries."""
        return now >= self.next_try or (self.prefers(who) and not self._in_vain)

    def prefers(self, who: str) -> bool:
        """Whether a try by `who` tells more than one by those who lost here."""
        return self.keeps_ending() and who not in self.suspected

    def blames(self, who: str) -> bool:
        """Whether it is `who` or the stage, and only a try by another one can tell."""
        return self.keeps_ending() and who in self.suspected

    def keeps_ending(self) -> bool:
        """Whether it is away because its workers end: then it matters who tries it."""
        return self.away is not None and self.away.cause == "keeps_ending"

    def _hold(self, cause: AwayCause, text: str, now: float) -> None:
        """Calls that were made before the stage was found away, and hear of it now, are no tries: no pause grows."""
        if self.away is None or now >= self.next_try:
            self._pause(now)
        if self.away is None:
            self.away = Away(cause, text, now)
        elif self.away.cause != "keeps_ending":  # between two of its ends no replica is up; that explains nothing
            self.away = replace(self.away, cause=cause, text=text)

    def _pause(self, now: float) -> None:
        self._tries += 1
        pause = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** min(self._tries - 1, 16))
        self.next_try = now + pause * (0.5 + self.chance() / 2)
