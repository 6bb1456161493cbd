"""Holds calls back while their stage is away: one tries it, the others wait for what becomes of that.

Each model has stages of its own, so whoever waits for one model's holds up no job of another.

`attempt.py` passes through here with every call. A thousand may wait, so a change calls only the next one of them, and
what several changes in one turn of the loop lead to is done once. Whether a stage is away says `stage_health.py`; that
it is, and who waits for it, is told here: to the log, the metrics, and, by the feed, to the front doors.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import chain

from serving.director.events import Feed
from serving.director.stage_health import Away, StageHealth
from serving.jobs.ids import JobKey
from serving.logs import logger
from serving.metrics import STAGE_AWAY, STAGE_AWAY_SECONDS, Recorder
from serving.stage_names import CONDITIONER, INGEST, ModelStage, StageName
from serving.stages.contracts import AwayCause, StageAway

LOOK_EVERY_S = 5.0
"""A call that is not answered for so long is a reason to count the stage's replicas: Serve lets it wait for one."""
_WORDS: Mapping[AwayCause, str] = {
    "no_replica": "no replica is up",
    "full": "it is full",
    "unreachable": "it is not reached",
    "keeps_ending": "its workers keep ending",
}

_log = logger("director")


@dataclass(eq=False)
class Caller:
    """One call of a job, from when it is to be made until it is over."""

    job: JobKey
    who: str
    """What is suspected when it loses its worker: the job, or what it reads."""


@dataclass
class _Gate:
    """One stage. Whoever waits is let through in turn."""

    health: StageHealth
    waiting: dict[Caller, asyncio.Event] = field(default_factory=dict)
    """In the order in which they came; each is called by its event."""
    inside: dict[Caller, None] = field(default_factory=dict)
    trying: Caller | None = None
    suspects: dict[JobKey, str] = field(default_factory=dict)
    """Jobs that lost workers here, and what is suspected for it."""
    since: str = ""
    """The time of day since which it is away, for people."""
    counted_to: float = 0.0
    alarm: asyncio.TimerHandle | None = None
    """At the time of the next try."""

    def passes(self, caller: Caller) -> bool:
        """Whether this call may be made now."""
        return self.health.away is None or self.trying is caller

    def holds_back(self, caller: Caller, now: float, *, called: bool = False) -> bool:
        """Whether this call has to wait: for the stage, or for its turn to try it. `called`: another stage that it
        needs is its to try. Then it goes before those who wait here, but not before one who is better suited: if each
        of two gates sent its first to the other's end, neither stage would ever be tried."""
        if self.passes(caller):
            return False
        if self.trying is not None or not self.health.may_try(caller.who, now):
            return True
        following = self.next_of(chain(self.waiting, (caller,)))
        if following is None or following is caller:
            return False
        better = self.health.keeps_ending() and self.health.prefers(following.who)
        return not called or (better and not self.health.prefers(caller.who))

    def next_of(self, line: Iterable[Caller]) -> Caller | None:
        """Whose try it is."""
        first: Caller | None = None
        for caller in line:
            if not self.health.keeps_ending() or self.health.prefers(caller.who):
                return caller
            first = first or caller
        return first

    def call(self, now: float) -> float | None:
        """Call whoever may go on: all, or the one whose try it is; else the time of the next try, if anybody waits."""
        if self.health.away is None:
            for called in self.waiting.values():
                called.set()
        elif self.trying is None and (following := self.next_of(self.waiting)) is not None:
            if not self.health.may_try(following.who, now):
                return self.health.next_try
            self.waiting[following].set()
        return None


@dataclass
class _Count:
    """Replicas of one model's stages, as they were when that was looked at last."""

    up: Mapping[StageName, int] = field(default_factory=dict)
    at: float = float("-inf")
    counting: asyncio.Future[None] | None = None


class StageGates:
    """Of one Director; used from its event loop only."""

    def __init__(
        self,
        feed: Feed,
        metrics: Recorder,
        replicas: Callable[[str], Awaitable[Mapping[StageName, int]]],
        *,
        now_ms: Callable[[], int],
        chance: Callable[[], float] = random.random,
    ) -> None:
        """`replicas`: of a model, see `Stages`."""
        self._feed = feed
        self._metrics = metrics
        self._replicas = replicas
        self._now_ms = now_ms
        self._chance = chance
        self._gates: dict[ModelStage, _Gate] = {}
        self._proven: set[tuple[str, StageName]] = set()
        self._counts: dict[str, _Count] = {}
        self._changes = False
        """What was changed in this turn of the loop has not led to anything yet."""

    # ── before a call ───────────────────────────────────────────────────────────────────────────────────────────

    def closed(self, stages: Sequence[ModelStage]) -> str:
        """Why a call that needs these stages would have to wait; empty when it would not."""
        return next((_sentence(stage, self._gate(stage)) for stage in stages if self._gate(stage).health.away), "")

    async def enter(self, stages: Sequence[ModelStage], caller: Caller) -> None:
        """Wait until the stages work, or until it is this call's turn to try those that do not. `left` follows,
        whatever happens.

        Whoever waits for one stage holds no other: that may be back, and those who need it alone can go on.
        """
        waits_at: _Gate | None = None
        try:
            while (gate := self._first_closed(stages, caller, waits_at)) is not None:
                if gate is not waits_at:
                    self._leave(waits_at, caller)
                    waits_at = gate
                    gate.waiting[caller] = asyncio.Event()
                    self._change()
                await gate.waiting[caller].wait()
                gate.waiting[caller].clear()
        finally:
            self._leave(waits_at, caller)
        for stage in stages:
            gate = self._gate(stage)
            if gate.health.away is not None:
                gate.trying = caller
            gate.inside[caller] = None

    def passes(self, stages: Sequence[ModelStage], caller: Caller) -> bool:
        """Whether it still may be made: something may have happened since `enter`."""
        return all(self._gate(stage).passes(caller) for stage in stages)

    def left(self, stages: Sequence[ModelStage], caller: Caller) -> None:
        """The call is over, or will not be made."""
        for stage in stages:
            gate = self._gate(stage)
            gate.inside.pop(caller, None)
            if gate.trying is caller:
                gate.trying = None
            if gate.health.away is not None:
                self._change()

    # ── what became of it ───────────────────────────────────────────────────────────────────────────────────────

    def answered(self, stages: Sequence[ModelStage], caller: Caller, *, finished: bool) -> None:
        """They did what was asked of them. `finished`: to its end, and not only a part of it."""
        for stage in stages:
            gate = self._gate(stage)
            if finished:
                self._proven.add(_deployment(stage))
                gate.health.finished(caller.who)
                if not gate.health.suspected:
                    gate.suspects.clear()
            self._back(stage, gate)

    def refused(self, stage: ModelStage, away: StageAway) -> None:
        """No replica of it did a call."""
        with self._telling(stage) as gate:
            gate.health.refused(away.cause, away.message, _now())

    def lost(self, stage: ModelStage, caller: Caller, *, alone: bool, died: str = "") -> bool:
        """A replica of it died under this call; True when that is to be held against the caller. `alone`, `died`: see
        `StageHealth`.
        """
        with self._telling(stage) as gate:
            alone, proven = alone or gate.trying is caller, _deployment(stage) in self._proven
            gate.suspects[caller.job] = caller.who
            return gate.health.lost(caller.who, _now(), alone=alone, proven=proven, died=died)

    def suspects(self, stages: Sequence[ModelStage], caller: Caller) -> bool:
        """Whether the caller lost a worker of one of these alone, and none of it has finished anything since."""
        return any(caller.who in self._gate(stage).health.suspected for stage in stages)

    def waits_for_others(self, job: JobKey) -> bool:
        """Whether the job ended workers of a stage that may be sound: only another one's try would tell."""
        return any(gate.health.blames(gate.suspects[job]) for gate in self._gates.values() if job in gate.suspects)

    def finishes(self, stage: ModelStage) -> int:
        """See `StageHealth`."""
        return self._gate(stage).health.finishes

    def acquittals(self, stage: ModelStage) -> int:
        """See `StageHealth`."""
        return self._gate(stage).health.acquittals

    async def look(self, stages: Sequence[ModelStage]) -> None:
        """A call to these waits long: see whether there is anybody to answer it."""
        for model in {stage.model for stage in stages}:
            await self._count_again(model)
        for stage in stages:
            gate, count = self._gate(stage), self._counts[stage.model].up.get(_deployment(stage)[1])
            if count == 0 and gate.inside:
                with self._telling(stage):
                    gate.health.refused("no_replica", "calls wait for one", _now())
                gate.trying = gate.trying or next(iter(gate.inside))  # its call goes on waiting, and is the try
            elif count and gate.health.away is not None and gate.health.away.cause == "no_replica":
                self._back(stage, gate)

    async def _count_again(self, model: str) -> None:
        count = self._counts.setdefault(model, _Count())
        if count.counting is None and _now() - count.at > LOOK_EVERY_S / 2:
            count.counting = asyncio.ensure_future(self._count_replicas(model, count))
        if count.counting is not None:  # an old count may be long wrong
            await asyncio.shield(count.counting)

    async def _count_replicas(self, model: str, count: _Count) -> None:
        """Whatever goes wrong with it is no fault of the calls that it is made for: then nothing is known."""
        count.up = {}
        try:
            count.up = await self._replicas(model)
        except Exception:  # noqa: BLE001  (of Serve's or ours: jobs that run do not fail by a look at their stage)
            _log.exception("the replicas were not counted", model=model)
        finally:
            count.at, count.counting = _now(), None

    # ── telling ─────────────────────────────────────────────────────────────────────────────────────────────────

    @contextlib.contextmanager
    def _telling(self, stage: ModelStage) -> Iterator[_Gate]:
        """Around what may find the stage away."""
        gate = self._gate(stage)
        before = gate.health.away
        yield gate
        away = gate.health.away
        if away is None:
            return
        if before is None:
            gate.since = f"{datetime.fromtimestamp(self._now_ms() / 1000, UTC):%H:%M:%S} UTC"
            gate.counted_to = away.since
            _log.warning(
                "a stage is away",
                **stage._asdict(),
                cause=away.cause,
                why=away.text,
                by=sorted({*gate.suspects.values()}),
            )
        elif before.cause != away.cause:
            self._metrics.set(STAGE_AWAY, 0, **stage._asdict(), reason=before.cause)
        self._metrics.set(STAGE_AWAY, 1, **stage._asdict(), reason=away.cause)
        self._count(stage, gate)
        self._change()

    def _back(self, stage: ModelStage, gate: _Gate) -> None:
        if gate.health.away is None:
            return
        self._count(stage, gate)
        over = gate.health.up()
        assert over is not None
        self._metrics.set(STAGE_AWAY, 0, **stage._asdict(), reason=over.cause)
        _log.warning("a stage is back", **stage._asdict(), cause=over.cause, away_s=round(_now() - over.since, 1))
        gate.trying = None
        self._change()

    def _count(self, stage: ModelStage, gate: _Gate) -> None:
        passed, gate.counted_to = _now() - gate.counted_to, _now()
        if passed > 0:
            self._metrics.add(STAGE_AWAY_SECONDS, passed, **stage._asdict())

    def _tell(self) -> None:
        """Who waits for a stage that is away, and which are."""
        closed = {stage: gate for stage, gate in self._gates.items() if gate.health.away is not None}
        told = {stage: _sentence(stage, gate) for stage, gate in closed.items()}
        waits = {caller.job: told[stage] for stage, gate in closed.items() for caller in (*gate.waiting, *gate.inside)}
        away: dict[str, list[str]] = {}
        for stage, sentence in told.items():
            away.setdefault(stage.model, []).append(sentence)
        self._feed.held_up(waits, {model: "; ".join(sentences) for model, sentences in away.items()})

    def _first_closed(self, stages: Sequence[ModelStage], caller: Caller, at: _Gate | None) -> _Gate | None:
        """`at`: where it stands."""
        now = _now()
        if at is not None and at.holds_back(caller, now):
            return at
        called = at is not None and at.health.away is not None
        others = (gate for gate in map(self._gate, stages) if gate is not at)
        return next((gate for gate in others if gate.holds_back(caller, now, called=called)), None)

    def _leave(self, gate: _Gate | None, caller: Caller) -> None:
        """It waits there no more."""
        if gate is not None:
            del gate.waiting[caller]
            self._change()  # it may be another one's turn now

    def _change(self) -> None:
        """Something changed, or it is time for a try: at the end of this turn of the loop see what that leads to."""
        if not self._changes:
            self._changes = True
            asyncio.get_running_loop().call_soon(self._settle)

    def _settle(self) -> None:
        self._changes = False
        loop = asyncio.get_running_loop()
        for gate in self._gates.values():
            if gate.alarm is not None:
                gate.alarm.cancel()
            next_try = gate.call(loop.time())
            gate.alarm = None if next_try is None else loop.call_at(next_try, self._change)
        self._tell()

    def _gate(self, stage: ModelStage) -> _Gate:
        if stage not in self._gates:
            self._gates[stage] = _Gate(StageHealth(self._chance))
        return self._gates[stage]


def _deployment(at: ModelStage) -> tuple[str, StageName]:
    return at.model, CONDITIONER if at.stage == INGEST else at.stage


def _sentence(at: ModelStage, gate: _Gate) -> str:
    away: Away | None = gate.health.away
    if away is None:
        return ""
    model, stage = _deployment(at)
    return f"the stage {stage} of {model} is away: {_WORDS[away.cause]}, since {gate.since}"


def _now() -> float:
    return asyncio.get_running_loop().time()
