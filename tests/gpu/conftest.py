"""The GPU of this machine, its runtime, and the model that ships compiled for it; without one, all is skipped."""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from engines import models
from engines.manifest import Manifest
from engines.models import Model
from engines.runtimes.base import Runtime
from engines.runtimes.registry import SHIPPED
from engines.runtimes.tensorrt import cuda
from engines.session import Session, load_session
from engines.spec import EngineSpec

RUNTIMES = ("tensorrt_rtx", "tensorrt")


@dataclass(frozen=True)
class Compiled:
    """The model that ships, as plans for this GPU."""

    model: Model
    manifest: Manifest
    """Of the same graphs, for ONNX Runtime."""
    runtime: Runtime
    target: str
    plans: dict[str, bytes]

    def open(self) -> Session:
        """Engines that were loaded anew."""
        runners = {
            name: self.runtime.runner(self.manifest.entry(name).spec.component, plan, threads=1)
            for name, plan in self.plans.items()
        }
        return Session(self.model.family, runners, digest="gpu")


@pytest.fixture(scope="session")
def compiled() -> Compiled:
    """Compiled once, by a runtime that is installed and has this GPU for a target."""
    target = cuda.target()
    if target is None:
        pytest.skip("no GPU that CUDA can use here, or no cuda-bindings: pip install 'longtake[tensorrt_rtx]'")
    installed = [SHIPPED.find(name) for name in RUNTIMES if importlib.util.find_spec(name) is not None]
    runtime = next((one for one in installed if target in one.devices), None)
    if runtime is None:
        names = ", ".join(one.name for one in installed) or "none"
        pytest.skip(f"no runtime for {target} is installed (there is {names}): docs/gpu.md says which card needs which")
    model = models.find("sprite")
    found = asyncio.run(model.package_store().find(model.name, None))
    plans = {}
    for entry in found.manifest.engines:
        spec = EngineSpec.from_json({**entry.spec.to_json(), "runtime": runtime.name, "device": target})
        plans[entry.component] = runtime.compile(asyncio.run(found.read(entry)), spec, print)
    return Compiled(model, found.manifest, runtime, target, plans)


@pytest.fixture(scope="session")
def on_gpu(compiled: Compiled) -> Iterator[Session]:
    """Loaded."""
    with compiled.open() as session:
        yield session


@pytest.fixture(scope="session")
def on_cpu(compiled: Compiled) -> Iterator[Session]:
    """The same graphs in ONNX Runtime, which were compared with torch when they were built."""
    with asyncio.run(load_session("sprite")) as session:
        yield session
