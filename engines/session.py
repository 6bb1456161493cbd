"""The loaded engines of one model: what a stage calls.

`load_session` is the way in; tests and the scorer may build a `Session` from runners of their own, e.g. with
a denoiser of noise. Calls and seconds are counted by component, for metrics.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from engines import models
from engines.cores import cores
from engines.errors import EngineDeviceAbsent, EngineUnverified
from engines.families.base import Family
from engines.key import name_on_server
from engines.manifest import EngineEntry, Manifest, unverified_message
from engines.runtimes.base import Arrays, DeviceMemory, Runner, Runtime
from engines.runtimes.registry import SHIPPED, Runtimes, remote
from engines.store import EngineStore, Found


@dataclass(frozen=True)
class Usage:
    """How much a component was used since the session began."""

    calls: int
    seconds: float
    """Wall-clock time within the engine, summed over threads."""


def _of_no_device() -> DeviceMemory | None:
    """Engines lie in the host's memory, or a server's."""
    return None


class Session:
    """Active runners of one model, by component. Implements `families.base.Engines`; safe from several
    threads."""

    def __init__(
        self,
        family: Family,
        runners: Mapping[str, Runner],
        *,
        digest: str,
        memory: Callable[[], DeviceMemory | None] = _of_no_device,
    ) -> None:
        """Activates the runners; `digest` names model and engines (`Manifest.digest`). `memory` tells how that of the
        device stands, None where there is no other than the host's.

        Raises `ValueError` for a runner of no component of the family.
        """
        unknown = [name for name in runners if name not in family.components]
        if unknown:
            raise ValueError(f"runners: {family.capabilities.model} has no {', '.join(unknown)}")
        self.family = family
        self.digest = digest
        self.memory = memory
        self.runners = dict(runners)
        self._usage = dict.fromkeys(self.runners, Usage(0, 0.0))
        self._lock = threading.Lock()
        try:
            for runner in self.runners.values():
                runner.activate()
        except BaseException:
            self.close()
            raise

    def infer(self, component: str, inputs: Arrays) -> dict[str, NDArray[np.generic]]:
        """Run one component. Raises `ValueError` naming an input that does not fit the engine's metadata."""
        if component not in self.runners:
            raise ValueError(
                f"component: no {component!r} in {self.family.capabilities.model}: {', '.join(self.runners)}"
            )
        begin = time.perf_counter()
        result = self.runners[component].infer(inputs)
        seconds = time.perf_counter() - begin
        with self._lock:
            past = self._usage[component]
            self._usage[component] = Usage(past.calls + 1, past.seconds + seconds)
        return result

    @property
    def usage(self) -> dict[str, Usage]:
        """By component, as of now."""
        with self._lock:
            return dict(self._usage)

    def close(self) -> None:
        """Deactivate all the runners, whatever one of them raises; may be called again."""
        with ExitStack() as stack:
            for runner in self.runners.values():
                stack.callback(runner.deactivate)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


async def load_session(
    model: str, store: EngineStore | None = None, *, threads: int = 0, components: Sequence[str] | None = None
) -> Session:
    """Load a model's verified engines, or only those `components` of it that a stage runs.

    `store` defaults to the engines of the package alone; `threads` 0 is one per core that this process may
    use. Raises `EngineNotBuilt`, `EngineCorrupt` or `EngineUnverified`, whose message says what to do.
    """
    entry = models.find(model)
    found = await (store or entry.package_store()).find(entry.name, entry.weights_digest())
    return await open_found(entry.family, found, threads=threads, components=components)


async def open_found(
    family: Family,
    found: Found,
    *,
    threads: int = 0,
    components: Sequence[str] | None = None,
    runtimes: Runtimes = SHIPPED,
    unverified: bool = False,
    server: str = "",
) -> Session:
    """The same, for engines that a store has found already, in the runtime that they were built for.

    `unverified`: also those that nobody compared with their model yet, to compare them. `server`: the address of a
    Triton Inference Server that runs them; then none is loaded here. Raises `EngineDeviceAbsent` on a machine without
    the device that they are for, or without room for them on it, and `EngineAway` for a server that is not there or
    has not these engines.
    """
    manifest = found.manifest
    if not manifest.verified and not unverified:
        raise EngineUnverified(unverified_message(manifest))
    names = family.components if components is None else components
    memory: Callable[[], DeviceMemory | None] = _of_no_device
    if server:
        runners = {name: _remote(manifest, manifest.entry(name), server) for name in names}
    else:
        runtime = check_here(manifest, runtimes)
        memory = partial(runtime.memory, manifest.device)
        _demand_room(manifest, names, memory())
        runners = {
            name: runtime.runner(
                entry.spec.component,
                await found.read(entry),
                threads=threads or cores(),
                weights=await found.weights(entry),
                device=manifest.device,
                kept=found.kept(entry),
            )
            for name in names
            for entry in (manifest.entry(name),)
        }
    return await asyncio.to_thread(Session, family, runners, digest=manifest.digest, memory=memory)


def check_here(manifest: Manifest, runtimes: Runtimes = SHIPPED) -> Runtime:
    """The runtime that loads these engines. Raises `EngineUnverified` or `EngineDeviceAbsent` where it cannot here."""
    runtime = runtimes.find(manifest.runtime)
    manifest.check_runtime(runtime)
    return runtime


def _demand_room(manifest: Manifest, names: Sequence[str], memory: DeviceMemory | None) -> None:
    """Raise `EngineDeviceAbsent` for engines that are larger than what of the device is free. What fits may still lack
    room to compute in: how much that takes, nobody knows before."""
    sizes = {name: manifest.entry(name).bytes_in_all for name in names}
    needed = sum(sizes.values())
    if memory is None or needed <= memory.free:
        return
    told = " + ".join(f"{name} {size / 1e9:.1f}" for name, size in sizes.items())
    raise EngineDeviceAbsent(
        f"the engines of {manifest.model} for {manifest.variant} do not fit the device: {told} = {needed / 1e9:.1f} "
        f"GB, and {memory.free / 1e9:.1f} of its {memory.total / 1e9:.1f} GB are free: end what else uses it, take a "
        "larger one, or build them in half (`--precision bf16`)"
    )


def _remote(manifest: Manifest, entry: EngineEntry, server: str) -> Runner:
    return remote(
        entry.spec.component,
        name_on_server(entry.component, manifest.digest, entry.sha256),
        address=server,
        written_by=f"longtake engines triton-repo --model {manifest.model} --variant {manifest.variant} --out DIR",
    )
