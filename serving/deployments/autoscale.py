"""How many replicas each stage has: by its backlog, in seconds of predicted work.

Serve calls `BacklogPolicy` for each model in its controller ten times a second (`declared.py` names it in the
application's configuration). The backlog comes from the Director, as what its replica records, by way of
`DirectorPolicy` and `backlogs.py`. `decide` is the policy for one stage. It is pure:
what it remembers between calls travels in the policy state that Serve keeps for it, and is begun anew with a new
controller or roll-out, which only makes the next step down later.

    up      at once, to as many as the backlog asks for
    down    when for `down_delay_s` no more were asked for, and by half at most, so that running slices find room
    to zero when nothing at all was queued or running for `idle_s`

A step down that has to be taken back soon was a mistake, so the next one waits twice as long: under a steady load that
is no whole number of replicas, the changes become rare. Serve drains a replica that it takes away: its slice ends, and
the job goes on elsewhere from its checkpoint.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from serving.deployments import backlogs

if TYPE_CHECKING:
    from ray.serve.config import AutoscalingContext

JOBS = "jobs"
"""Among what the Director records by stage: how many jobs there are."""
MAX_PATIENCE = 8
"""Steps down wait at most so many times `down_delay_s`."""
REGRET = 4
"""A step down was a mistake when it is taken back within so many times the wait before it."""
_MEMORY = "memory"


@dataclass(frozen=True)
class Aim:
    """What the replicas are to achieve."""

    backlog_s: float
    """Seconds of work per replica that may wait or run before another replica is started."""
    down_delay_s: float
    idle_s: float


@dataclass(frozen=True)
class Bounds:
    """Least and most replicas."""

    least: int
    most: int

    def clamp(self, count: int) -> int:
        """The nearest count within."""
        return max(self.least, min(self.most, count))


Wish = tuple[float, int]
"""When, and how many replicas were asked for."""


@dataclass(frozen=True)
class Memory:
    """What a stage's earlier decisions leave behind. Times are seconds of Serve's clock."""

    wishes: tuple[Wish, ...]
    """Newest last; only those that nothing newer reaches, so the first is the largest."""
    busy_at: float
    """When there last was any backlog."""
    fell_at: float | None = None
    """When the last step down was; None once a step up has followed."""
    patience: int = 1
    """Times `down_delay_s` to wait before a step down."""

    @classmethod
    def fresh(cls, present: int, now: float) -> Memory:
        """Nothing is known but how many there are, so they stay for a while."""
        return cls(wishes=((now, present),), busy_at=now)


def decide(backlog_s: float, present: int, bounds: Bounds, aim: Aim, memory: Memory, now: float) -> tuple[int, Memory]:
    """The replicas that a stage is to have from now on, and what to remember of it.

    `present`: the replicas that it was to have until now. `backlog_s`: seconds of work that is queued or running.
    """
    wanted = _wanted(backlog_s, bounds, aim)
    wait = memory.patience * aim.down_delay_s
    memory = replace(memory, wishes=_wishes(memory.wishes, wanted, now, wait))
    if backlog_s > 0:
        memory = replace(memory, busy_at=now)
    if wanted > present:
        return wanted, _rose(memory, wait, now)
    if backlog_s <= 0 and now - memory.busy_at >= aim.idle_s:
        return bounds.least, memory
    _, most_wanted = memory.wishes[0]
    lower = max(1, most_wanted, math.ceil(present / 2))
    just_fell = memory.fell_at is not None and now - memory.fell_at < wait
    if lower >= present or just_fell:
        return bounds.clamp(present), memory
    return bounds.clamp(lower), _fell(memory, wait, now)


def _wanted(backlog_s: float, bounds: Bounds, aim: Aim) -> int:
    """What the backlog asks for: any work at all asks for one."""
    if backlog_s <= 0:
        return bounds.least
    if backlog_s >= bounds.most * aim.backlog_s:
        return bounds.most
    return bounds.clamp(max(1, math.ceil(backlog_s / aim.backlog_s)))


def _wishes(earlier: tuple[Wish, ...], wanted: int, now: float, lasts_s: float) -> tuple[Wish, ...]:
    """With one more; without those that are older than `lasts_s`, and those that the new one reaches."""
    return (*(wish for wish in earlier if wish[1] > wanted and now - wish[0] < lasts_s), (now, wanted))


def _rose(memory: Memory, wait: float, now: float) -> Memory:
    """Was the last step down a mistake? It is regretted once, however many steps up follow it."""
    if memory.fell_at is None:
        return memory
    mistake = now - memory.fell_at < REGRET * wait
    return replace(memory, fell_at=None, patience=min(MAX_PATIENCE, 2 * memory.patience) if mistake else 1)


def _fell(memory: Memory, wait: float, now: float) -> Memory:
    stood = memory.fell_at is not None and now - memory.fell_at >= REGRET * wait
    return replace(memory, fell_at=now, patience=1 if stood else memory.patience)


def _backlog(contexts: Mapping[Any, AutoscalingContext]) -> dict[str, float]:
    """The backlog as a Director last told it; empty while none does.

    Serve's own aggregate is a mean over some time, which would come late. During a roll-out two may report: the one
    that has lost its epoch falls silent, so the newer value counts.
    """
    newest: dict[str, tuple[float, float]] = {}
    for context in contexts.values():
        for name, by_replica in (context.raw_metrics or {}).items():
            told = [(point.timestamp, point.value) for series in by_replica.values() for point in series[-1:]]
            if told:
                newest[name] = max(told)
    return {name: value for name, (_, value) in newest.items()}


class DirectorPolicy:
    """Of the Director's application: it scales nothing, and hands on what the Director tells."""

    def __call__(self, contexts: Mapping[Any, AutoscalingContext]) -> tuple[dict[Any, int], dict[Any, dict[str, Any]]]:
        """As Serve calls it."""
        backlogs.tell(_backlog(contexts))
        return {}, {}


class BacklogPolicy:
    """Of a model's application, as Serve calls it: {deployment: context} → ({deployment: replicas}, state)."""

    def __init__(self, *, model: str, backlog_s: float, down_delay_s: float, idle_s: float) -> None:
        """See `Aim`; the application's configuration hands them in."""
        self._model = model
        self._aim = Aim(backlog_s, down_delay_s, idle_s)

    def __call__(self, contexts: Mapping[Any, AutoscalingContext]) -> tuple[dict[Any, int], dict[Any, dict[str, Any]]]:
        """Decide for each stage. While no Director reports, all stay as they are."""
        backlog = backlogs.of(self._model)
        targets: dict[Any, int] = {}
        state: dict[Any, dict[str, Any]] = {}
        for deployment, context in contexts.items():
            if context.deployment_name not in backlog:
                continue
            now, present = context.current_time or time.time(), context.target_num_replicas
            memory = context.policy_state.get(_MEMORY) or Memory.fresh(present, now)
            bounds = Bounds(context.capacity_adjusted_min_replicas, context.capacity_adjusted_max_replicas)
            # A job is on one replica of a stage at a time: however long it is, it asks for one.
            work_s = min(backlog[context.deployment_name], backlog.get(JOBS, math.inf) * self._aim.backlog_s)
            target, memory = decide(work_s, present, bounds, self._aim, memory, now)
            targets[deployment], state[deployment] = target, {_MEMORY: memory}
        return targets, state
