"""How fast engines compute on this machine's CPU, beside torch, and what Longtake's loop around them takes.

Each component of the model that ships, and of a Wan with random weights that is large enough to tell: as an engine of
every runtime that compiles for a CPU and is installed, as the torch module that the engine was made from, and as a part
of what the same cores reach in one large product of float32 matrices. Then a short video of that Wan: Longtake's own
loop over its engines, and diffusers' loop over the same engine and over its own module.
"""

from __future__ import annotations

import importlib.util
import sys
import tempfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from engines import models
from engines.building.build import INSTALL, PACKAGES
from engines.cores import cores
from engines.errors import EngineUnfit
from engines.families.base import Conditions
from engines.session import Session
from engines.weights import WeightsFolder
from loadtests.compute import components, flops, loops, mid_wan, runtimes
from loadtests.compute.loops import Inputs
from loadtests.compute.turns import take_turns
from loadtests.scale import Scale
from loadtests.studio import MODEL
from loadtests.table import Row, paired, spread

NAME = "engines"
NEEDS: Final = (*PACKAGES, "diffusers", "transformers", "tokenizers", "ftfy")
STEPS: Final = 2
"""Of a video: of more each takes as long."""
LONGEST_S: Final = 45.0
"""Of one runtime's videos, and the round that is under way then."""
DIT: Final = "dit"
"""First, where there is time for few."""
_OWN, _OVER_ENGINE, _EAGER = "own", "diffusers over the engine", "diffusers in eager torch"


def run(scale: Scale) -> list[Row]:
    """Both models; one row that says why not where torch or its like is missing."""
    absent = [name for name in NEEDS if importlib.util.find_spec(name) is None]
    if absent:
        return [Row(NAME, f"not measured: there is no {', '.join(absent)}: {INSTALL}", "")]
    found = runtimes.for_cpu()
    rows = [Row(NAME, f"{one.name}: not measured: pip install '{one.distribution}'", "") for one in found.absent]
    with tempfile.TemporaryDirectory(prefix="longtake-engines-") as folder, flops.torch_threads(cores()):
        rows += _sprite(found, scale, Path(folder))
        rows += _wan(found, scale, Path(folder))
    return rows


def _sprite(found: runtimes.Found, scale: Scale, folder: Path) -> Iterator[Row]:
    """Every component, on the first of its own cases."""
    model = models.find(MODEL)
    given: dict[str, Inputs] = {DIT: {}}
    for case in model.family.cases():
        given[case.component] = given.get(case.component) or case.inputs
    modules = model.family.graphs(model.weights)
    built = runtimes.Engines(model, modules, tuple(given), WeightsFolder(folder / "sprite"), _tell)
    with ExitStack() as stack:
        sessions, without = _open(built, found, given, stack)
        yield from without
        yield from components.measured(NAME, MODEL, sessions, given, modules, scale.rounds, _tell)


def _wan(found: runtimes.Found, scale: Scale, folder: Path) -> Iterator[Row]:
    """Denoiser and decoder as a video calls them, then videos."""
    _tell("making a Wan with random weights")
    pipeline, model = mid_wan.make(folder / "checkpoint")
    conditions, modules = mid_wan.conditions(), model.family.graphs(model.weights)
    denoiser: Any = modules[DIT].module
    title = f"Wan of {sum(value.numel() for value in denoiser.parameters()) / 1e6:.0f} M"
    built = runtimes.Engines(model, modules, mid_wan.MEASURED, WeightsFolder(folder / "wan"), _tell)
    with ExitStack() as stack:
        sessions, without = _open(built, found, mid_wan.MEASURED, stack)
        yield from without
        whole = {name: session for name, session in sessions.items() if len(session.runners) == len(mid_wan.MEASURED)}
        if not whole:
            return
        given = loops.record(next(iter(whole.values())), conditions)
        yield from components.measured(NAME, title, sessions, given, modules, scale.heavy, _tell)
        pipeline.register_modules(transformer=denoiser.transformer)
        for runtime, session in whole.items():
            _tell(f"{title}, videos, {runtime}")
            videos = _Videos(pipeline, session, conditions, loops.check_seconds(session, given))
            yield from videos.rows(f"{title}, {runtime}", scale.heavy)


class _Videos:
    """One video again and again, by each loop in turn."""

    def __init__(self, pipeline: Any, session: Session, conditions: Conditions, checks: Mapping[str, float]) -> None:
        self._pipeline = pipeline
        self._session = session
        self._conditions = conditions
        self._checks = checks
        self._made: list[loops.Video] = []

    def rows(self, title: str, rounds: int) -> list[Row]:
        """What Longtake's loop takes outside of its engines; then its denoising beside diffusers'."""
        arms = {_OWN: self._own, _OVER_ENGINE: self._over_engine, _EAGER: self._eager}
        found = take_turns(arms, rounds, within_s=LONGEST_S)
        videos = self._made[1:]  # the first one is not measured
        outside = [100 * video.outside / video.seconds for video in videos]
        seconds = spread([video.seconds for video in videos], 2)
        what = f"{title}: a video of {STEPS} steps, outside of the engines, %"
        rows = [Row(NAME, what, spread(outside, 2), f"the video {seconds} s", aim="<= 3 %")]
        what = f"{title}: {STEPS} steps by Longtake, s"
        for arm in (_OVER_ENGINE, _EAGER):
            base = found[arm]
            ratio = paired(found[_OWN], base)
            rows.append(Row(NAME, what, spread(found[_OWN], 2), f"{arm} {spread(base, 2)}", ratio))
        return rows

    def _own(self) -> float:
        self._made.append(loops.longtake(self._session, self._conditions, steps=STEPS, checks=self._checks))
        return self._made[-1].denoising

    def _over_engine(self) -> float:
        with loops.through(self._session, self._pipeline.transformer):
            return self._eager()

    def _eager(self) -> float:
        return loops.diffusers(self._pipeline, self._session, self._conditions, steps=STEPS).seconds


def _open(
    built: runtimes.Engines, found: runtimes.Found, names: Collection[str], stack: ExitStack
) -> tuple[dict[str, Session], list[Row]]:
    """In each runtime, by its name, until the stack ends; and rows for what a runtime refuses or takes too long for."""
    sessions, without = dict[str, Session](), list[Row]()
    for runtime in found.installed:
        what = f"{built.title}, {runtime.name}: not measured"
        try:
            sessions[runtime.name] = session = stack.enter_context(built.open(runtime))
        except EngineUnfit as error:
            without.append(Row(NAME, f"{what}: {error}", ""))
            continue
        absent = [name for name in names if name not in session.runners]
        if absent:
            without.append(Row(NAME, f"{what}, for it compiles too long: {', '.join(absent)}", ""))
    return sessions, without


def _tell(what: str) -> None:
    print(f"  {what}", file=sys.stderr, flush=True)
