"""The models that one Director serves, by name: each with stages of its own. `director.py` is told which they are.

That may change while it works. A job that runs keeps what it knows of its model when that is taken away: its calls wait
at the gates of the stages (`stage_gate.py`), and go on when the model is back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from engines.families.base import Family
from serving.director.places import Places
from serving.director.queue.schedule import Capacity
from serving.stage_names import StageName
from serving.stages.contracts import INGESTS_AT_ONCE, RENDERS_AT_ONCE
from serving.stages.interface import Stages


@dataclass(frozen=True)
class Served:
    """One model: where its stages are, and how much work they take."""

    stages: Stages
    family: Family
    slots: int
    """Its jobs that run at once, urgent ones aside."""
    denoisers: int = 1
    renders: int = RENDERS_AT_ONCE
    """Calls that all its Renderers together work on at once."""
    ingests: int = INGESTS_AT_ONCE
    """Videos from elsewhere that its Conditioners together take in at once."""


class ServedModels:
    """Of one Director; used from its event loop only."""

    def __init__(self, models: Mapping[str, Served]) -> None:
        self._known: dict[str, Served] = {}
        """Those that were taken away included: their jobs may run."""
        self._renderers: dict[str, Places] = {}
        self._ingesters: dict[str, Places] = {}
        self._now: frozenset[str] = frozenset()
        self.serve(models)

    def serve(self, models: Mapping[str, Served]) -> None:
        """These from now on, and no others."""
        for name, served in models.items():
            self._known[name] = served
            for places, count in ((self._renderers, served.renders), (self._ingesters, served.ingests)):
                places.setdefault(name, Places(count)).resize(count)
        self._now = frozenset(models)

    def __contains__(self, model: str) -> bool:
        return model in self._now

    @property
    def capacities(self) -> Mapping[str, Capacity]:
        """What can run at once, by model."""
        return {name: Capacity(self._known[name].slots, self._known[name].denoisers) for name in sorted(self._now)}

    def family(self, model: str) -> Family:
        """Of a model that is served, or was."""
        return self._known[model].family

    def stages(self, model: str) -> Stages:
        """Of a model that is served, or was."""
        return self._known[model].stages

    def renderers(self, model: str) -> Places:
        """Segments and pictures that are rendered at once, of a model that is served, or was."""
        return self._renderers[model]

    def ingesters(self, model: str) -> Places:
        """Videos from elsewhere that are taken in at once, likewise."""
        return self._ingesters[model]

    async def replicas(self, model: str) -> Mapping[StageName, int]:
        """How many replicas of each of its stages are up, as far as that is known."""
        return await self._known[model].stages.replicas()
