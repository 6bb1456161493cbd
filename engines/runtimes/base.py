"""What a runtime is: it compiles a graph into an engine, and makes the runner that calls the engine.

`building/build.py` asks a `Runtime` to compile, `session.py` and `store.py` ask it how its engines are run and named;
`registry.py` knows them all. `session.py` holds one `Runner` per component. A runner checks its inputs against the
engine's metadata before the runtime sees them, so that a wrong shape is a sentence and not a stack of native code.

    new ──activate──▶ active ──deactivate──▶ inactive ──activate──▶ …
                        │ infer, from any thread
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from engines.errors import EngineUnfit
from engines.kept import Kept
from engines.precision import FULL
from engines.spec import ComponentSpec, EngineSpec, TensorSpec
from engines.weights import Weights

Arrays = Mapping[str, NDArray[np.generic]]
Tell = Callable[[str], None]
"""Hears what a compiler begins with, in its own words."""
Graph = Any
"""An `onnx.ModelProto`; who serves does without the package."""
Module = Any
"""A `families.graph.GraphSpec`: a torch module, and what its inputs are."""


class DeviceMemory(NamedTuple):
    """Of an accelerator, in bytes, whoever uses it."""

    free: int
    total: int


@dataclass(frozen=True)
class Source:
    """What an engine is compiled from, in its precision: each runtime takes the form that it reads."""

    graph: bytes
    """In ONNX."""
    module: Callable[[], Module]
    """In torch, made when it is asked for."""
    weights: Weights | None = None
    """The files beside the graph, where it has any."""
    kept: Kept | None = None
    """Where the runtime may keep what makes its next build on this machine shorter."""


class Runtime(ABC):
    """One way to compile and run engines. Importing its module imports no runtime; its methods may."""

    name: str
    """What specs and manifests call it, for ever: it is part of an engine's key."""
    distribution: str
    """What pip installs for it."""
    suffix: str
    """Of an engine's file, with its dot."""

    @property
    @abstractmethod
    def devices(self) -> tuple[str, ...]:
        """What it compiles for, the default first: `cpu`, or architectures of accelerators (`sm89`)."""

    @property
    @abstractmethod
    def loads(self) -> tuple[str, str]:
        """Versions of the runtime that may load what is compiled now: at least the first, below the second."""

    def here(self) -> str | None:
        """The device of this machine that its engines would run on; None where they cannot."""
        return self.devices[0]

    def runs(self, device: str) -> bool:
        """Whether engines for this device run on this machine."""
        return device == self.here()

    def remedy(self, device: str) -> str:  # noqa: ARG002
        """What to do where it does not run engines for this device, behind a colon."""
        return "load them where one is, or set `engines.variant` to engines for this one"

    def memory(self, device: str) -> DeviceMemory | None:  # noqa: ARG002
        """Of the device here that runs engines for `device`; None where they lie in the host's, or nobody tells."""
        return None

    def targets(self, asked: Sequence[str]) -> tuple[str, ...]:
        """The devices to compile for, each once: those that are asked for, else the one that is here.

        Raises `EngineUnfit` for what it cannot compile for.
        """
        unknown = [device for device in asked if device not in self.devices]
        if unknown:
            raise EngineUnfit(f"{self.name} compiles for {', '.join(self.devices)}, not for {', '.join(unknown)}")
        return tuple(dict.fromkeys(asked)) or self.devices[:1]

    def refusals(self, read: Callable[[], Graph], device: str) -> Iterator[str]:  # noqa: ARG002
        """What it is known to refuse of a graph for this device, one sentence each.

        Asked before anything is compiled: so nobody waits an hour for what can be said at once. `read` gives the graph
        with the shapes of what lies between; it may be large.
        """
        return iter(())

    def no_precision(self, precision: str, device: str) -> str | None:  # noqa: ARG002
        """Why it cannot compute in this precision on this device; None where it can. Float32 alone is the rule."""
        return None if precision == FULL else f"{self.name} computes in {FULL} alone"

    reads_weights_beside: bool = False
    """Whether it compiles graphs whose large weights lie in files; else all are within the graph, of at most 2 GB."""
    takes_weights_beside: bool = False
    """Whether they lie in files beside its engines as well; else an engine has all of them within."""

    @abstractmethod
    def version(self) -> str:
        """The version that is installed. Raises `ImportError` where there is none."""

    @abstractmethod
    def bound_to(self) -> str:
        """What the bytes that `compile` makes are bound to; part of an engine's key.

        The exact version where a new one compiles anew, the format's where the engine is the portable graph itself.
        """

    @abstractmethod
    def compile(self, source: Source, spec: EngineSpec, tell: Tell) -> bytes:
        """An engine's bytes. Raises `EngineUnfit` for what it cannot compile."""

    @abstractmethod
    def runner(
        self,
        component: ComponentSpec,
        engine: bytes,
        *,
        threads: int,
        weights: Weights | None = None,
        device: str | None = None,
        kept: Kept | None = None,
    ) -> Runner:
        """A runner of an engine's bytes, not active yet. `threads` (at least 1) compute one call together. `device` is
        the one that the engine was compiled for, for a runtime whose engines do not say it; None: its default. In
        `kept` it may keep what makes the next start of this engine here shorter; None: nothing.

        `weights` are the files beside it, their bytes checked, for a runtime that takes such. Raises `EngineCorrupt`
        for an engine that names other files, before the runtime sees it.
        """


class Runner(ABC):
    """One engine. Subclasses write `_load`, `_run` and `_unload`."""

    def __init__(self, component: ComponentSpec) -> None:
        self.component = component
        self._active = False
        self._before: Mapping[str, object] | None = None
        """The attributes as they were before `_load`."""

    def activate(self) -> None:
        """Load the engine; nothing happens when it is loaded."""
        if not self._active:
            self._before = self._state()
            self._load()
            self._active = True

    def infer(self, inputs: Arrays) -> dict[str, NDArray[np.generic]]:
        """Run the engine once. Safe from several threads. Raises `ValueError` naming an input that does not
        fit."""
        if not self._active:
            raise RuntimeError(f"{self.component.name}: infer before activate (or after deactivate)")
        check_inputs(self.component, inputs)
        return self._run(inputs)

    def deactivate(self) -> None:
        """Let go of the engine's memory; safe after a failed or missing `activate`.

        Raises `RuntimeError` for a runner that holds on to what its `_load` made: its memory would never come back.
        """
        self._active = False
        self._unload()
        before, self._before = self._before, None
        if before is None:
            return
        after = self._state()
        left = sorted(name for name in before.keys() | after.keys() if before.get(name) is not after.get(name))
        if left:
            raise RuntimeError(
                f"{self.component.name}: {type(self).__name__} was not reset by deactivate ({', '.join(left)}): "
                "`_unload` must undo what `_load` and `_run` set"
            )

    def _state(self) -> dict[str, object]:
        """The subclass's attributes, to be compared by identity."""
        return {name: value for name, value in vars(self).items() if name not in ("_active", "_before")}

    def __enter__(self) -> Self:
        self.activate()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.deactivate()

    @abstractmethod
    def _load(self) -> None:
        """Make the runtime's session."""

    @abstractmethod
    def _run(self, inputs: Arrays) -> dict[str, NDArray[np.generic]]:
        """Run it on inputs that fit."""

    @abstractmethod
    def _unload(self) -> None:
        """Drop the runtime's session, if there is one."""


def check_inputs(component: ComponentSpec, inputs: Arrays) -> None:
    """Raise `ValueError` unless names, types and shapes are the component's, and named dims agree and are in
    range."""
    wanted = {tensor.name for tensor in component.inputs}
    if wanted != set(inputs):
        missing, unknown = sorted(wanted - set(inputs)), sorted(set(inputs) - wanted)
        raise ValueError(
            f"{component.name}: "
            + "; ".join(
                f"{what} {', '.join(names)}"
                for what, names in (("missing inputs", missing), ("unknown inputs", unknown))
                if names
            )
            + f" (it takes {', '.join(str(tensor) for tensor in component.inputs)})"
        )
    sizes: dict[str, tuple[int, str]] = {}
    for tensor in component.inputs:
        _check_tensor(component, tensor, inputs[tensor.name], sizes)


def _check_tensor(
    component: ComponentSpec,
    tensor: TensorSpec,
    value: NDArray[np.generic],
    sizes: dict[str, tuple[int, str]],
) -> None:
    where = f"{component.name}: input {tensor.name}"
    if str(value.dtype) != tensor.dtype:
        raise ValueError(f"{where} is {value.dtype}, expected {tensor.dtype}")
    if value.ndim != len(tensor.dims):
        raise ValueError(f"{where} has shape {list(value.shape)}, expected {tensor}")
    for axis, (size, dim) in enumerate(zip(value.shape, tensor.dims, strict=True)):
        if isinstance(dim, int) and size != dim:
            raise ValueError(f"{where} has {size} in dim {axis} of {list(value.shape)}, expected {tensor}")
        if not isinstance(dim, str):
            continue
        span = component.spans[dim]
        if not span.min <= size <= span.max:
            raise ValueError(f"{where}: {dim} is {size}, and this engine takes {span.min} to {span.max}")
        known, other = sizes.setdefault(dim, (size, tensor.name))
        if known != size:
            raise ValueError(f"{where}: {dim} is {size}, but {known} in input {other}")
