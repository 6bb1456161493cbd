"""What goes wrong in one world, and how often: drawn from its seed (swarm testing).

Each world draws which kinds of faults it has at all: a world in which everything fails all the time gets nowhere, and
hides what one kind of fault alone would show. `calm` ends them all.
"""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import NamedTuple


class CallFate(NamedTuple):
    """How one store call goes."""

    there_s: float
    back_s: float
    refused: bool = False
    unanswered: bool = False
    late_s: float = 0.0
    """It is refused, and takes effect so long after that."""

    @property
    def told(self) -> str:
        """What is wrong with it."""
        if self.late_s:
            return f"comes {self.late_s:.1f} s late"
        slow = f"takes {self.there_s + self.back_s:.1f} s" if self.there_s + self.back_s > 0.1 else ""
        return f"{'is refused ' if self.refused else ''}{'is not answered ' if self.unanswered else ''}{slow}"


@dataclass
class Faults:
    """Shares of store calls, and events per second of the world. All zero: nothing goes wrong."""

    refused: float = 0.0
    unanswered: float = 0.0
    late: float = 0.0
    stalled: float = 0.0
    outages: float = 0.0
    """The store is away for a while."""
    partitions: float = 0.0
    """One process cannot reach the store for a while; all else it can."""
    kills: dict[str, float] = field(default_factory=dict)
    """By kind of process."""
    stops: dict[str, float] = field(default_factory=dict)
    """SIGSTOP, for longer than a lease at times."""
    second_directors: float = 0.0
    unheard: float = 0.3
    """Share of them of which the first one does not hear."""
    lost_answers: float = 0.0
    """Share of calls between processes whose caller is told that the replica is gone, though it works on."""
    drift: float = 0.0
    """Processes' monotonic clocks are off by up to this share."""
    collections: float = 0.0
    stopped_sweeps: float = 0.4
    """Share of them that are stopped between their look and their deletes."""
    collected_first: bool = False
    """One begins with the trouble, of a past that was deleted."""
    lags: float = 0.0
    """Share of a Director's messages to front doors that are on their way for seconds, and all behind them."""
    late_deletes: float = 0.0
    """Share of deletes that are refused, and take effect long after that."""
    flips: float = 0.0
    """Share of reads of blobs that come with a wrong bit."""
    torn: float = 0.0
    """The same, of checkpoints."""
    clock_jumps: float = 0.0
    """Wall clocks jump by up to a minute."""
    slow_doors: float = 0.0
    """The store answers one front door slowly for a while."""
    aways: float = 0.0
    """A stage is away for everybody for a while."""


NOTICED_S = 40.0
"""A loss is noticed within this: a process may be stopped for 30 s, and holds a lease after that."""
DELETED_LATE_S = 40.0
"""A delete that nobody waits for any more may take effect so late: less than an announcement is good for."""
SLOW_SHARE, SLOWEST_S = 0.3, 4.0
"""Where the store answers slowly: of so many calls, and up to so many seconds."""
KINDS = ("door", "director", "denoiser", "renderer", "encoder")


def drawn(random: Random, *, slow: bool) -> Faults:
    """The faults of a world. Where jobs outlast the collector's margin, a call to a front door must not (`slow`)."""

    def perhaps(chance: float, low: float, high: float) -> float:
        return low * (high / low) ** random.random() if random.random() < chance else 0.0

    if random.random() < 0.15:
        return Faults(collections=perhaps(0.2, 0.3, 3.0))
    faults = Faults(
        refused=perhaps(0.4, 0.002, 0.1),
        unanswered=perhaps(0.5, 0.002, 0.1),
        late=perhaps(0.3, 0.002, 0.05),
        stalled=0.0 if slow else perhaps(0.3, 0.002, 0.03),
        outages=perhaps(0.2, 0.02, 0.2),
        partitions=perhaps(0.3, 0.02, 0.3),
        kills={kind: rate for kind in KINDS if (rate := perhaps(0.35, 0.02, 1.0))},
        stops={kind: rate for kind in KINDS if (rate := perhaps(0.25, 0.02, 1.0))},
        second_directors=perhaps(0.3, 0.02, 0.3),
        lost_answers=perhaps(0.2, 0.005, 0.1),
        drift=perhaps(0.5, 0.001, 0.1),
        clock_jumps=perhaps(0.3, 0.05, 0.5),
        collections=perhaps(1.0 if slow else 0.3, 0.3, 3.0),
        lags=perhaps(0.4, 0.02, 0.3),
        late_deletes=perhaps(0.4, 0.03, 0.5),
        flips=perhaps(0.1, 0.01, 0.1),
    )
    faults.torn = 10.0 * faults.flips  # they are read seldom
    if faults.torn:  # a checkpoint is read where a Denoiser was lost
        faults.kills.setdefault("denoiser", 0.3)
    return faults


class Chance:
    """Draws what happens next. One per world."""

    def __init__(self, random: Random, now: Callable[[], float]) -> None:
        """`now`: the world's seconds."""
        self.random = random
        self.now = now
        self.disturbed_until = float("-inf")
        """In the world's seconds: the end of the newest thing that went wrong so far."""
        self.faults = Faults()
        self.store_is_down = self.store_is_unfit = False
        self.cut_off: set[str] = set()
        """Names of the processes that cannot reach the store."""
        self.slow: set[str] = set()
        """Names of the processes that the store answers slowly."""
        self.losses: list[float] = []
        """When something happened that may cost an attempt its worker, and was no job's fault."""
        self.away_until = float("-inf")
        """In the world's seconds: the end of the newest time in which a stage was away for everybody."""
        self.died_of_work = 0
        """Workers that a job ended."""
        self.bad_calls = 0
        """Calls to the store that went wrong."""
        self.flips = 0
        """How often something was read wrong."""
        self._bad = 0.0

    def trouble(self, faults: Faults) -> None:
        """From now on this goes wrong."""
        self.faults = faults
        self._set()

    def calm(self) -> None:
        """From now on nothing new goes wrong."""
        self.faults = Faults()
        self.store_is_back()
        self._set()

    def store_is_back(self) -> None:
        """An outage has ended."""
        self.store_is_down = self.store_is_unfit = False

    def disturb(self, seconds: float = 0.0) -> None:
        """Something goes wrong for so long."""
        self.disturbed_until = max(self.disturbed_until, self.now() + seconds)

    def lose(self, seconds: float = 0.0) -> None:
        """The same, and it may cost an attempt its worker."""
        self.losses.append(self.now())
        self.disturb(seconds)

    def die_of_work(self) -> None:
        """A job ends its worker."""
        self.died_of_work += 1
        self.disturb()

    def lost_since(self, moment: float) -> int:
        """How often something did. What began a while before may be noticed only then."""
        return len(self.losses) - bisect_left(self.losses, moment - NOTICED_S)

    def _set(self) -> None:
        faults = self.faults
        self._bad = faults.refused + faults.unanswered + faults.late + faults.stalled

    def store_call(self, name: str, caller: str) -> CallFate:
        """How a call goes: mostly well, in a few milliseconds."""
        draw = self.random.random
        there, back = 0.001 + 0.004 * draw(), 0.001 + 0.004 * draw()
        if caller in self.slow and draw() < SLOW_SHARE:
            self.bad_calls += 1
            self.disturb(SLOWEST_S)
            return CallFate(there + SLOWEST_S * draw(), back)
        if name == "delete" and self.faults.late_deletes and draw() < self.faults.late_deletes:
            return CallFate(there, back + 2.0 * draw(), refused=True, late_s=DELETED_LATE_S * draw())
        if not self._bad or draw() >= self._bad:
            return CallFate(there, back)
        fate = self._bad_call(there, back)
        self.bad_calls += 1
        self.disturb(fate.there_s + fate.back_s + fate.late_s)
        return fate

    def _bad_call(self, there: float, back: float) -> CallFate:
        faults, draw = self.faults, self.random.random
        at = draw() * self._bad
        if at < faults.refused:
            return CallFate(there, back + 2.0 * draw() ** 3, refused=True)
        at -= faults.refused
        if at < faults.unanswered:
            return CallFate(there, back + 2.0 * draw() ** 3, unanswered=True)
        at -= faults.unanswered
        if at < faults.late:
            return CallFate(there, back + 2.0 * draw() ** 3, refused=True, late_s=8.0 * draw() ** 2)
        if draw() < 0.5:
            return CallFate(there + 10.0 * draw() ** 2, back)
        return CallFate(there, back + 10.0 * draw() ** 2)

    def lease_call(self, fate: CallFate, caller: str) -> None:
        """A lease that cannot be renewed for a while is lost; a lost answer alone must not cost it."""
        failed = self.store_is_down or caller in self.cut_off or fate.there_s + fate.back_s > 1.0
        if failed or (fate.refused and not fate.late_s):
            self.lose()

    def lag_s(self) -> float:
        """How much longer than `hop_s` a message to a front door travels."""
        lagging = bool(self.faults.lags) and self.random.random() < self.faults.lags
        return 3.0 * self.random.random() if lagging else 0.0

    def flipped(self, key: str) -> bool:
        """Whether what is read there has a wrong bit."""
        share = self.faults.flips if "/blobs/" in key else self.faults.torn if "/checkpoints/" in key else 0.0
        wrong = bool(share) and self.random.random() < share
        self.flips += wrong
        return wrong

    def flip(self, key: str, data: bytes) -> bytes:
        """With one wrong bit: of a checkpoint in its latents, for all else of it is compared with what it must be; of
        anything else rather near the end.
        """
        drawn = self.random.random()
        if "/checkpoints/" in key:
            begin, end = _latents(data)
            at = begin + int((end - begin) * drawn)
        else:
            at = len(data) - 1 - int(len(data) * drawn**2)
        return data[:at] + bytes([data[at] ^ 1 << self.random.randrange(8)]) + data[at + 1 :]

    def hop_s(self) -> float:
        """How long a message between two processes travels."""
        return 0.0005 + 0.002 * self.random.random()

    def pause_s(self, low: float, high: float) -> float:
        """Some time, more often a short one."""
        return float(low * (high / low) ** self.random.random())


def _latents(checkpoint: bytes) -> tuple[int, int]:
    """Where they begin and end: in safetensors the header's length comes first, and then where each tensor lies."""
    header = 8 + int.from_bytes(checkpoint[:8], "little")
    begin, end = json.loads(checkpoint[8:header])["latents"]["data_offsets"]
    return header + begin, header + end
