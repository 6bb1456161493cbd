"""An engine on a server, while its runner is active: calls go there, their tensors by shared memory or in messages.

`runner.py` holds one. Shared memory is for a server on this machine that maps ours, which is tried once, when the
connection is made; outputs lie there whose sizes the inputs tell.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import suppress

import numpy as np
from numpy.typing import NDArray

from engines.errors import EngineError, EngineSilent
from engines.runtimes.base import Arrays
from engines.runtimes.triton import answers
from engines.runtimes.triton.regions import FOLDER, Region, Regions, Unmapped, laid_out
from engines.runtimes.triton.server import Answer, Place, Server
from engines.spec import ComponentSpec


class Connection:
    """Safe from several threads."""

    def __init__(self, component: ComponentSpec, server: Server, *, here: bool) -> None:
        """Raises `EngineAway` for a server or a model that is not there, `EngineError` for another face."""
        self._component = component
        self._server = server
        answers.demand_face(component, *server.face(), where=str(server))
        self._regions = self._shared() if here and FOLDER.is_dir() else None

    def close(self) -> None:
        """Let go of shared memory, and end calls that are on their way."""
        try:
            if self._regions is not None:
                self._regions.close()
        finally:
            self._server.close()

    @property
    def shares_memory(self) -> bool:
        """Whether tensors go by shared memory."""
        return self._regions is not None

    def infer(self, inputs: Arrays) -> dict[str, NDArray[np.generic]]:
        """One call with inputs that fit; raises as `Server.infer`, and `EngineError` for answers that do not."""
        held = {name: np.ascontiguousarray(value) for name, value in inputs.items()}
        sizes = answers.sizes_of(self._component, held)
        if self._regions is None:
            return self._by_message(held, sizes)
        places, size = self._laid_out(held, sizes)
        try:
            with self._regions.lent(size) as region:
                return self._by_memory(region, places, held, sizes)
        except Unmapped:
            return self._by_message(held, sizes)

    def _shared(self) -> Regions | None:
        regions = Regions(self._server.register, self._forget)
        try:
            with regions.lent(0):
                return regions
        except Unmapped:  # it is on another machine, or another user's, or allows none: messages do as well
            return None

    def _forget(self, region: str) -> None:
        with suppress(ValueError):  # a server that is away, or was started anew, has none
            self._server.unregister(region)

    def _laid_out(self, inputs: Arrays, sizes: Mapping[str, int]) -> tuple[dict[str, tuple[int, int]], int]:
        """Offset and bytes of all inputs, and of the outputs whose shapes are known; and bytes in all."""
        bytes_of = {f"in {name}": value.nbytes for name, value in inputs.items()}
        for tensor in self._component.outputs:
            shape = answers.shape_of(tensor, sizes)
            known = [size for size in shape if size is not None]
            if len(known) == len(shape):
                bytes_of[f"out {tensor.name}"] = math.prod(known) * np.dtype(tensor.dtype).itemsize
        offsets, size = laid_out(bytes_of)
        return {name: (offset, bytes_of[name]) for name, offset in offsets.items()}, size

    def _by_memory(
        self, region: Region, places: Mapping[str, tuple[int, int]], inputs: Arrays, sizes: Mapping[str, int]
    ) -> dict[str, NDArray[np.generic]]:
        sent = {}
        for tensor in self._component.inputs:
            offset, size = places[f"in {tensor.name}"]
            region.put(offset, inputs[tensor.name])
            sent[tensor.name] = (Place(region.name, offset, size), tensor, inputs[tensor.name].shape)
        wanted = {
            tensor.name: Place(region.name, *places[f"out {tensor.name}"]) if f"out {tensor.name}" in places else None
            for tensor in self._component.outputs
        }
        try:
            said = self._server.infer(sent, wanted)
        except EngineSilent:
            raise
        except ValueError as error:  # servers differ in what they call it
            if self._server.has_lost(region.name):
                raise Unmapped from error
            raise
        return self._taken(said, sizes, region, wanted)

    def _by_message(self, inputs: Arrays, sizes: Mapping[str, int]) -> dict[str, NDArray[np.generic]]:
        wanted = {tensor.name: None for tensor in self._component.outputs}
        return self._taken(self._server.infer(inputs, wanted), sizes, None, wanted)

    def _taken(
        self,
        said: Mapping[str, Answer],
        sizes: Mapping[str, int],
        region: Region | None,
        wanted: Mapping[str, Place | None],
    ) -> dict[str, NDArray[np.generic]]:
        """Each output, after its type, its shape and its bytes were checked."""
        taken: dict[str, NDArray[np.generic]] = {}
        for tensor in self._component.outputs:
            answer, place = said.get(tensor.name), wanted[tensor.name]
            shape = answers.demand_answer(self._component, tensor, answer.told if answer else None, sizes)
            data = answer.data if answer else b""
            size = 0 if place else math.prod(shape) * np.dtype(tensor.dtype).itemsize
            if len(data) != size:
                raise EngineError(
                    f"{self._component.name}: the server answered with {len(data)} bytes for {tensor} of {list(shape)}"
                    f", not with {size}: it does not run this engine"
                )
            if region is not None and place is not None:
                taken[tensor.name] = region.get(place.offset, tensor.dtype, shape)
            else:
                taken[tensor.name] = np.frombuffer(data, tensor.dtype).reshape(shape).copy()
        return taken
