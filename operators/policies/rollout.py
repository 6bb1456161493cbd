"""How far a change of a service is, and when it is given up. `reconcile.py` asks at each look, and applies accordingly.

    Held ──► Analysing ──► StagesStarting ──► FrontDoorsRolling ──► Complete
                 └──────────────┴──────────────────┴── deadline ──► RolledBack     until the spec changes again

`Analysing`, where it is asked for, comes before anything of the new version serves: finished videos are made again. One
that comes out otherwise ends the change at once, and so does what cannot be judged, after some tries.

What served before goes on meanwhile: its front doors stay until the new stages are up, and so do its stages, in a Ray
cluster or in applications of their own. The first version of all has nothing to go back to, and is waited for.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from math import inf
from typing import Any, Final

from operators.api.rollout import Rollout, RolloutStatus
from operators.policies.state import Finding, moment
from operators.policies.words import short

READY_S = 10.0
"""Seconds that a step must have been ready before it counts: just after a change, Ray's state is told as it was."""
TERMINAL_S = 60.0
"""The same for what Ray gave up."""
LOOK_S, LOOK_RARELY_S = 5.0, 30.0
"""Between looks while something is under way, and while it is held, or has been under way for a minute: time passes
without an event."""
REASON: Final = "ProgressDeadlineExceeded"
_UNDER_WAY = ("Analysing", "StagesStarting", "FrontDoorsRolling")


@dataclass(frozen=True)
class Seen:
    """What there is to decide by."""

    generation: int
    """Of the service."""
    wanted: str
    """The revision that its spec asks for."""
    stable: str
    """The one that served last; empty where none did."""
    asked: Rollout
    now: datetime
    held: Finding | None = None
    """What the change waits for before anything of it is made."""
    lacks: Finding | None = None
    """What the step under way lacks; None: nothing, it is ready."""
    given_up: bool = False
    """Whether Ray does not try again."""
    differs: bool = False
    """Whether a finished video came out otherwise."""
    unfit: bool = False
    """Whether none of them could be judged."""
    analysis: str = ""
    """What the replay said that found nothing otherwise."""
    same_stages: bool = False
    """Whether stages stay as they are: front doors alone follow."""


def decide(before: RolloutStatus, seen: Seen) -> RolloutStatus:
    """How it goes on."""
    if seen.wanted == seen.stable:
        return _settled(before, seen)
    rollout = _begun(before, seen)
    if rollout.state == "RolledBack":
        return rollout
    if rollout.state == "Held":
        rollout = _but(rollout, started_at=moment(seen.now), message=seen.held.message if seen.held else "")
        return rollout if seen.held else _but(rollout, state=_first_step(seen))  # what is there now is not of it yet
    if seen.lacks is None:
        return _ready(rollout, seen)
    rollout = _but(rollout, ready_since="", message="")
    if seen.stable and _over(rollout, seen):
        return _but(rollout, state="RolledBack", message=_why(rollout, seen, seen.lacks))
    if rollout.state == "Analysing" or _late(rollout, seen.asked, seen.now):
        return _but(rollout, message=short(seen.lacks.message))
    return rollout


def begins(before: RolloutStatus, seen: Seen) -> bool:
    """Whether nothing of a change is made yet, so that it is to be asked what it waits for."""
    return seen.wanted != seen.stable and _begun(before, seen).state == "Held"


def late(rollout: RolloutStatus, asked: Rollout, now: datetime) -> Finding | None:
    """What is to be told of a change that was given up, or should have been ready by now."""
    if rollout.state == "RolledBack":
        return Finding(REASON, rollout.message, failing=True)
    if _late(rollout, asked, now):
        said = (
            f"revision {rollout.to_revision} is not ready after {asked.progress_deadline_seconds} s: {rollout.message}"
        )
        return Finding(REASON, said, failing=True)
    return None


def going(rollout: RolloutStatus, stable: bool) -> Finding | None:
    """That it is not at its end, though nothing else may tell of it; `stable`: whether there is one to come from."""
    if rollout.state not in _UNDER_WAY or not stable:
        return None
    said = f": {rollout.message}" if rollout.state == "Analysing" and rollout.message else ""
    return Finding("ChangeMade", f"revision {rollout.to_revision}: {rollout.state}{said}")


def look_again_s(rollout: RolloutStatus, asked: Rollout, now: datetime) -> float:
    """Seconds until it is to be looked at though nothing happened."""
    if rollout.state == "Held":
        return LOOK_RARELY_S
    resting = rollout.state in ("Complete", "RolledBack") or (
        late(rollout, asked, now) is not None and not rollout.ready_since
    )
    if resting:
        return inf
    age_s = _age_s(rollout.started_at, now)
    if rollout.ready_since or rollout.state == "Analysing" or age_s < TERMINAL_S:
        return LOOK_S
    return min(max(LOOK_S, asked.progress_deadline_seconds - age_s), LOOK_RARELY_S)


def _settled(before: RolloutStatus, seen: Seen) -> RolloutStatus:
    """The spec is what serves already: so it was at the last look, or the change was taken out of it."""
    if before.state == "Complete" and before.to_revision == seen.wanted:
        return _but(before, generation=seen.generation)
    return RolloutStatus(
        state="Complete",
        from_revision=before.from_revision,
        to_revision=seen.wanted,
        generation=seen.generation,
        started_at=before.started_at or moment(seen.now),
    )


def _begun(before: RolloutStatus, seen: Seen) -> RolloutStatus:
    """The same change at another generation goes on; one that was given up is tried again then."""
    if before.to_revision == seen.wanted and before.state in ("Held", *_UNDER_WAY):
        return _but(before, generation=seen.generation)
    if before.to_revision == seen.wanted and before.state == "RolledBack" and before.generation == seen.generation:
        return before
    return RolloutStatus(state="Held", from_revision=seen.stable, to_revision=seen.wanted, generation=seen.generation)


def _first_step(seen: Seen) -> str:
    if seen.same_stages:
        return "FrontDoorsRolling"
    return "Analysing" if seen.stable and seen.asked.analysis.videos else "StagesStarting"


def _ready(rollout: RolloutStatus, seen: Seen) -> RolloutStatus:
    if rollout.state == "Analysing":
        return _but(rollout, state="StagesStarting", analysis=seen.analysis, message="")
    since = rollout.ready_since or moment(seen.now)
    if _age_s(since, seen.now) < READY_S:
        return _but(rollout, ready_since=since, message="")
    if rollout.state == "StagesStarting" and seen.stable:
        return _but(rollout, state="FrontDoorsRolling", ready_since="", message="")
    return _but(rollout, state="Complete", ready_since="", message="")


def _late(rollout: RolloutStatus, asked: Rollout, now: datetime) -> bool:
    return rollout.state in _UNDER_WAY and _age_s(rollout.started_at, now) > asked.progress_deadline_seconds


def _over(rollout: RolloutStatus, seen: Seen) -> bool:
    if seen.asked.strategy != "RollBack":
        return False
    if rollout.state == "Analysing":
        return seen.differs or seen.unfit or _late(rollout, seen.asked, seen.now)
    given_up = seen.given_up and _age_s(rollout.started_at, seen.now) > TERMINAL_S
    return given_up or _late(rollout, seen.asked, seen.now)


def _why(rollout: RolloutStatus, seen: Seen, lacks: Finding) -> str:
    took = f"not ready after {seen.asked.progress_deadline_seconds} s"
    if rollout.state == "Analysing":
        took = "a finished video came out otherwise" if seen.differs else took
        took = "finished videos could not be judged" if seen.unfit else took
    elif seen.given_up:
        took = "Ray gave it up"
    found = "The replay said" if seen.differs else "It lacked"
    return (
        f"revision {rollout.to_revision} was taken back ({took}), and {rollout.from_revision} serves again. {found}: "
        f"{short(lacks.message)}. Mend that or the spec: any change of the spec tries again, "
        "of rollout.progressDeadlineSeconds too"
    )


def _age_s(since: str, now: datetime) -> float:
    return (now - datetime.fromisoformat(since)).total_seconds()


def _but(rollout: RolloutStatus, **changes: Any) -> RolloutStatus:
    return rollout.model_copy(update=changes)
