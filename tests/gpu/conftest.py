"""The GPU of this machine, its runtime, and the model that ships compiled for it; without one, all is skipped."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import pytest

from engines import models
from engines.manifest import Manifest
from engines.models import Model
from engines.runtimes.base import Runtime, Source
from engines.runtimes.onnxruntime import CPU, CUDA, OnnxRuntime
from engines.runtimes.registry import SHIPPED
from engines.session import Session, load_session
from engines.spec import EngineSpec

RUNTIMES = ("tensorrt_rtx", "tensorrt", "aotinductor", "onnxruntime")


@dataclass(frozen=True)
class Compiled:
    """The model that ships, as engines for this GPU."""

    model: Model
    manifest: Manifest
    """Of the same graphs, for ONNX Runtime on the CPU."""
    runtime: Runtime
    target: str
    plans: dict[str, bytes]

    def open(self) -> Session:
        """Engines that were loaded anew."""
        runners = {
            name: self.runtime.runner(self.manifest.entry(name).spec.component, plan, threads=1, device=self.target)
            for name, plan in self.plans.items()
        }
        return Session(self.model.family, runners, digest="gpu")


@pytest.fixture(scope="session", params=RUNTIMES)
def compiled(request: pytest.FixtureRequest) -> Compiled:
    """Compiled once by each runtime that is installed and has this GPU for a target."""
    runtime, target = for_this_gpu(request.param)
    model = models.find("sprite")
    graphs = model.family.graphs(model.weights) if runtime.name == "aotinductor" else {}
    found = asyncio.run(model.package_store().find(model.name, None))
    plans = {}
    for entry in found.manifest.engines:
        spec = EngineSpec.from_json({**entry.spec.to_json(), "runtime": runtime.name, "device": target})
        source = Source(asyncio.run(found.read(entry)), partial(graphs.__getitem__, entry.component))
        plans[entry.component] = runtime.compile(source, spec, print)
    return Compiled(model, found.manifest, runtime, target, plans)


def for_this_gpu(name: str) -> tuple[Runtime, str]:
    """The runtime, and the GPU at hand as it calls it; skips where it is not installed, or has no such target."""
    runtime = SHIPPED.find(name)
    try:
        runtime.version()
    except ImportError as error:
        pytest.skip(f"{name}: {error}")
    target = CUDA if isinstance(runtime, OnnxRuntime) and runtime.runs(CUDA) else runtime.here()
    if target is None or target == CPU or target not in runtime.devices:
        pytest.skip(
            f"{name} has {target or 'no GPU'} here, and compiles for none: docs/gpu.md says which card needs which"
        )
    return runtime, target


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
