"""A model's components: as engines, as torch modules, and beside the peak of the same cores. `benchmarks/engines.py`
calls it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Final

import numpy as np

from engines.building.parity import BANDS, difference
from engines.errors import EngineUnfit
from engines.families.graph import GraphSpec
from engines.precision import FULL
from engines.runtimes.torch import TorchRunner
from engines.session import Session
from loadtests.compute import flops
from loadtests.compute.loops import Inputs
from loadtests.compute.turns import take_turns
from loadtests.table import Row, paired, spread

OVER_EAGER: Final = ">= 1.3x"
OF_PEAK: Final = ">= 0.6"
"""For a denoiser, whose work is nearly all matrix products."""
LONGEST_S: Final = 20.0
"""Of one component, and the round that is under way then."""
_EAGER, _GEMM = "eager torch", "GEMM"


def measured(
    benchmark: str,
    title: str,
    sessions: Mapping[str, Session],
    given: Mapping[str, Inputs],
    modules: Mapping[str, GraphSpec],
    rounds: int,
    tell: Callable[[str], None],
) -> Iterator[Row]:
    """Two rows of each component that is given something, for the session of each runtime that has it, by its
    name."""
    for name, inputs in given.items():
        tell(f"{title}, {name}")
        having = {runtime: session for runtime, session in sessions.items() if name in session.runners}
        if not having:
            continue
        work, found = _measure(name, having, inputs, modules[name], rounds)
        for runtime in having:
            what = f"{title}, {name}: {work / 1e9:.2f} GFLOP, {runtime}, GFLOP/s"
            values, eager, peak = found[runtime], found[_EAGER], found[_GEMM]
            against = f"{_EAGER} {spread(eager, 0)}"
            aim = OF_PEAK if name == "dit" else ""
            yield Row(benchmark, what, spread(values, 0), against, paired(values, eager), OVER_EAGER)
            yield Row(benchmark, what, spread(values, 0), f"{_GEMM} {spread(peak, 0)}", paired(values, peak), aim)


def _measure(
    name: str, sessions: Mapping[str, Session], inputs: Inputs, graph: GraphSpec, rounds: int
) -> tuple[int, dict[str, list[float]]]:
    """FLOPs of a call, and GFLOP/s of each arm in each round."""
    import torch

    face = next(iter(sessions.values())).runners[name].component
    values = [torch.from_numpy(np.ascontiguousarray(inputs[tensor.name])) for tensor in face.inputs]
    work = flops.flops(graph.module, values)
    with TorchRunner(face, graph.module) as eager:
        arms: dict[str, Callable[[], float]] = {
            _GEMM: flops.gemm(),
            _EAGER: partial(flops.rate, work, partial(eager.infer, inputs)),
        }
        wanted = eager.infer(inputs)
        for runtime, session in sessions.items():
            _compare(f"{name} by {runtime}", wanted, session.infer(name, inputs))
            arms[runtime] = partial(flops.rate, work, partial(session.infer, name, inputs))
        return work, take_turns(arms, rounds, within_s=LONGEST_S)


def _compare(what: str, wanted: Inputs, found: Inputs) -> None:
    """Raise `EngineUnfit` for an engine that does not compute what its module does: how fast it is says nothing."""
    allowed = BANDS[FULL].call
    for output, values in wanted.items():
        apart = difference(values, found[output])
        # What is no number is within no band.
        if not all(here <= most for here, most in zip(apart, allowed, strict=True)):
            raise EngineUnfit(f"{what}: {output} is {apart.largest:.1e} from torch's, and {allowed.largest:.1e} may be")
