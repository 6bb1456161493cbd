"""Which EngineBuilds of a VideoModel are to be made and which are to go, by what is there. `models.py` acts.

is not there            made, when all of the stages before it are ready
as it is wanted         left alone, whatever became of it
ready, of other means   left alone: what it made is what is wanted
of anything else        removed, and made anew when it is gone
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from operators.api.engine_build import EngineBuild, Spec
from operators.children.build_job import commands
from operators.children.model_builds import Stages
from operators.policies.build_state import finished, ready

Object = dict[str, Any]


@dataclass(frozen=True)
class Seen:
    """One EngineBuild that is wanted."""

    name: str
    model: str
    """Which it is of."""
    devices: bool
    """Whether it is for GPUs: without it, the model is served on CPUs."""
    found: EngineBuild | None
    """As it is; None where it is not there, or not yet as it is wanted."""

    @property
    def state(self) -> str:
        """As `Build.state`."""
        if self.found is None:
            return "Waits"
        if ready(self.found.status):
            return "Ready"
        return "Failed" if finished(self.found.status) else "Building"


@dataclass
class Plan:
    """What is to be done."""

    seen: list[Seen] = field(default_factory=list)
    make: dict[str, Spec] = field(default_factory=dict)
    remove: list[Object] = field(default_factory=list)
    taken: str = ""
    """An EngineBuild of a wanted one's name that is somebody else's."""


def planned(stages: Stages, live: Mapping[str, Object], uid: str) -> Plan:
    """`live`: EngineBuilds by name, its own and those that have a wanted one's name; `uid`: the VideoModel's."""
    plan, ahead = Plan(), True
    for stage in stages:
        before = ahead
        for name, wanted in stage.items():
            found = _found(plan, name, wanted, live.get(name), uid)
            if name not in live and before:
                plan.make[name] = wanted
            plan.seen.append(Seen(name, wanted.model, bool(wanted.targets), found))
            ahead = ahead and plan.seen[-1].state == "Ready"
    wanted_names = {name for stage in stages for name in stage}
    plan.remove += [one for name, one in live.items() if name not in wanted_names and owned(one, uid) and _stays(one)]
    return plan


def owned(found: Object, uid: str) -> bool:
    """Whether it is of this VideoModel."""
    return any(reference["uid"] == uid for reference in found["metadata"].get("ownerReferences") or ())


def _found(plan: Plan, name: str, wanted: Spec, live: Object | None, uid: str) -> EngineBuild | None:
    if live is None:
        return None
    if not owned(live, uid):
        plan.taken = name
        return None
    if not _stays(live):
        return None
    found = EngineBuild.model_validate(live)
    same = list(commands(found.spec)) == list(commands(wanted))
    if found.spec == wanted or (same and ready(found.status)):
        return found
    plan.remove.append(live)
    return None


def _stays(live: Object) -> bool:
    return not live["metadata"].get("deletionTimestamp")
