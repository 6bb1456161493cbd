"""Whatever runtime compiles for a CPU and is installed here, and a model's engines in it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final

from engines.building import build
from engines.building.steps import Progress
from engines.cores import cores
from engines.errors import EngineNotBuilt
from engines.models import Model
from engines.precision import FULL
from engines.runtimes.base import Runtime
from engines.runtimes.registry import SHIPPED, Runtimes
from engines.session import Session, open_found
from engines.weights import Weights, WeightsFolder

DEVICE: Final = "cpu"


@dataclass(frozen=True)
class Found:
    """The runtimes of a registry that compile for a CPU."""

    installed: tuple[Runtime, ...]
    absent: tuple[Runtime, ...]


def for_cpu(runtimes: Runtimes = SHIPPED) -> Found:
    """In the registry's order."""
    known = [runtimes.find(name) for name in runtimes.names]
    able = [runtime for runtime in known if DEVICE in runtime.devices]
    there = [_is_installed(runtime) for runtime in able]
    return Found(
        tuple(runtime for runtime, installed in zip(able, there, strict=True) if installed),
        tuple(runtime for runtime, installed in zip(able, there, strict=True) if not installed),
    )


def open_engines(model: Model, runtime: Runtime, folder: WeightsFolder, progress: Progress) -> Session:
    """A model's engines, to be closed: those of the package where they are this runtime's, else built and verified
    here as `longtake engines build` does, large weights into the folder."""
    shipped = _shipped(model, runtime)
    if shipped is not None:
        return shipped
    precisions = dict.fromkeys(model.family.components, FULL)
    (made,) = build.make(model, model.weights, runtime, (DEVICE,), progress, precisions=precisions, folder=folder)
    runners = {
        entry.component: runtime.runner(
            entry.spec.component,
            made.engines[entry.component],
            threads=cores(),
            weights=Weights(folder.path, entry.weights) if entry.weights else None,
        )
        for entry in made.manifest.engines
    }
    return Session(model.family, runners, digest=made.manifest.digest)


def _shipped(model: Model, runtime: Runtime) -> Session | None:
    async def opened() -> Session | None:
        try:
            found = await model.package_store().find(model.name, model.weights_digest())
        except EngineNotBuilt:
            return None
        return await open_found(model.family, found) if found.manifest.runtime == runtime.name else None

    return asyncio.run(opened())


def _is_installed(runtime: Runtime) -> bool:
    try:
        runtime.version()
    except ImportError:
        return False
    return True
