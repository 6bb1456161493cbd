"""Whatever runtime compiles for a CPU and is installed here, and a model's engines in it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from engines.building import export, lint
from engines.building.build import PROFILE
from engines.building.export import Exported
from engines.cores import cores
from engines.errors import EngineNotBuilt
from engines.families.graph import GraphSpec
from engines.models import Model
from engines.precision import FULL
from engines.runtimes.base import Runner, Runtime, Source
from engines.runtimes.registry import SHIPPED, Runtimes
from engines.session import Session, open_found
from engines.spec import EngineSpec
from engines.weights import Weights, WeightsFolder

DEVICE: Final = "cpu"
COMPILING_S: Final = 20.0
"""When a runtime has compiled for so long, it begins with no further component."""


@dataclass(frozen=True)
class Found:
    """The runtimes of a registry that compile for a CPU."""

    installed: tuple[Runtime, ...]
    absent: tuple[Runtime, ...]


def for_cpu(runtimes: Runtimes = SHIPPED) -> Found:
    """In the registry's order."""
    known = [runtimes.find(name) for name in runtimes.names]
    able = [runtime for runtime in known if DEVICE in runtime.devices]
    installed = tuple(runtime for runtime in able if _is_installed(runtime))
    return Found(installed, tuple(runtime for runtime in able if runtime not in installed))


class Engines:
    """Some components of a model, as engines of any runtime."""

    def __init__(
        self,
        model: Model,
        modules: Mapping[str, GraphSpec],
        names: Sequence[str],
        folder: WeightsFolder,
        tell: Callable[[str], None],
    ) -> None:
        """`names` are the components that are wanted, of all the model's `modules`, the first one first. Large weights
        go into the folder, for a runtime that takes them there."""
        self.title = model.name
        """For people."""
        self._model = model
        self._modules = modules
        self._names = names
        self._folder = folder
        self._tell = tell
        self._exported: dict[tuple[str, bool], Exported] = {}

    def open(self, runtime: Runtime) -> Session:
        """To be closed. Those of the package where they are this runtime's, else exported and compiled here, as many
        as there is time for; nobody has compared these with their modules. Raises `EngineUnfit` for what the runtime
        cannot compile."""
        shipped = asyncio.run(self._shipped(runtime))
        if shipped is not None:
            return shipped
        digest = self._model.weights_digest() or ""
        runners: dict[str, Runner] = {}
        spent = 0.0
        for name in self._names:
            if spent < COMPILING_S:
                runners[name], seconds = self._runner(runtime, name, digest)
                spent += seconds
        return Session(self._model.family, runners, digest=digest)

    async def _shipped(self, runtime: Runtime) -> Session | None:
        try:
            found = await self._model.package_store().find(self._model.name, self._model.weights_digest())
        except EngineNotBuilt:
            return None
        if found.manifest.runtime != runtime.name:
            return None
        return await open_found(self._model.family, found, components=self._names)

    def _runner(self, runtime: Runtime, name: str, digest: str) -> tuple[Runner, float]:
        """And the seconds that compiling took."""
        part = self._export(name, beside=runtime.takes_weights_beside)
        title = f"{self.title}, {name}: compiling for {runtime.name}"
        self._tell(title)
        spec = EngineSpec(
            model=self._model.name,
            weights_digest=digest,
            component=part.component,
            runtime=runtime.name,
            precision=FULL,
            profile=PROFILE,
            device=DEVICE,
        )
        source = Source(part.graph, partial(self._modules.__getitem__, name))
        begun = time.monotonic()
        engine = runtime.compile(source, spec, lambda detail: self._tell(f"{title}: {detail}"))
        seconds = time.monotonic() - begun
        weights = Weights(self._folder.path, part.weights) if part.weights else None
        return runtime.runner(part.component, engine, threads=cores(), weights=weights), seconds

    def _export(self, name: str, *, beside: bool) -> Exported:
        """Once for all runtimes that take weights at the same place."""
        if (name, beside) not in self._exported:
            self._tell(f"{self.title}, {name}: exporting")
            part = export.export(name, self._modules[name], self._folder if beside else None)
            lint.lint(name, part.graph, part.weights)
            self._exported[name, beside] = part
        return self._exported[name, beside]


def _is_installed(runtime: Runtime) -> bool:
    try:
        runtime.version()
    except ImportError:
        return False
    return True
