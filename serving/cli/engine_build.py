"""Builds the engines of a model into a store, with a bar. `longtake engines build` and `models add` call it."""

from __future__ import annotations

import math
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import typer

from serving.cli.engine_access import built_in, own_key
from serving.cli.output import INTERRUPTED

if TYPE_CHECKING:
    from engines.building.steps import Progress
    from engines.claims import Waiting
    from engines.manifest import Manifest
    from engines.models import Model
    from engines.precision import Precisions
    from engines.store import Built
    from serving.model_store import Sources
    from serving.store.base import Store

LINE_S: Final = 10.0
"""Between two lines of one step."""


async def build_into_store(
    store: Store,
    model: Model,
    sources: Sources,
    *,
    runtime_name: str | None = None,
    targets: Sequence[str] = (),
    precision: str = "",
    quiet: bool,
) -> list[tuple[Manifest, bool]]:
    """A manifest for each target, and whether it had to be built. `sources` are where the weights of `model` lie, the
    runtime by default ONNX Runtime, and the target the device that is here. `precision` is what `--precision` says.

    Raises what `building.build` raises, and `ValueError` for the precision.
    """
    from engines.building import build as builder
    from engines.claims import Claims
    from engines.errors import EngineNotBuilt
    from engines.manifest import missing_message
    from engines.precision import read
    from engines.runtimes.registry import SHIPPED

    kinds = read(precision, model.family.components)
    runtime = SHIPPED.find(runtime_name) if runtime_name else SHIPPED.default()
    digest = model.weights_digest()
    if digest is None:
        raise EngineNotBuilt(missing_message(model.name, "weights"))
    devices = runtime.targets(targets)
    builder.demand_precisions(runtime, devices, kinds)
    there = await _there(built_in(store), model, digest, runtime.name, devices, kinds)
    if len(there) == len(devices):
        return [(made, False) for made in there.values()]
    builder.demand_packages()
    built = built_in(store, key=own_key())
    with progress_bar(quiet=quiet) as show:

        def wait(other: Waiting) -> None:
            show(f"waiting: {other.holder} builds them, {other.doing}", 0, 1)

        async with Claims(built.objects).turn(model.name, digest, wait) as claim:
            # Also of the builder that was waited for.
            there = await _there(built, model, digest, runtime.name, devices, kinds)
            missing = [device for device in devices if device not in there]

            def tell(what: str, done: int, total: int) -> None:
                claim.doing = f"{what} ({done} of {total})"
                show(what, done, total)

            made = []
            if missing:
                made = await builder.build(
                    model,
                    built,
                    weights=sources.files,
                    adapters=sources.adapters,
                    runtime=runtime,
                    targets=missing,
                    precisions=kinds,
                    progress=tell,
                )
            return [*((one, False) for one in there.values()), *((one, True) for one in made)]


def demand_builder() -> None:
    """Before hours are spent on reading: torch is here, and a key that is trusted. Raises `EngineNotBuilt`,
    `EngineUntrusted`."""
    from engines.building import build as builder

    builder.demand_packages()
    own_key()


@contextmanager
def ends_at_once() -> Iterator[None]:
    """Ctrl-C or SIGTERM ends the process: nobody can end the compiler's thread, and an orderly exit would abort in it.

    What compilers started and have written aside goes with it.
    """
    from serving.local.process_tree import kill_descendants

    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with _aside() as folder:
            try:
                yield
            except KeyboardInterrupt:
                kill_descendants()
                shutil.rmtree(folder, ignore_errors=True)
                typer.echo("interrupted: nothing was published", err=True)  # last: the thread tells how far it is
                os._exit(INTERRUPTED)
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _aside() -> Iterator[str]:
    """A folder in which this process and its children make all their temporary files meanwhile."""
    before, of_children = tempfile.tempdir, os.environ.get("TMPDIR")
    with tempfile.TemporaryDirectory(prefix="longtake-build-") as folder:
        tempfile.tempdir = os.environ["TMPDIR"] = folder
        try:
            yield folder
        finally:
            tempfile.tempdir = before
            os.environ.pop("TMPDIR") if of_children is None else os.environ.update(TMPDIR=of_children)


@contextmanager
def progress_bar(*, quiet: bool) -> Iterator[Progress]:
    """A bar on a terminal, else lines; what it gives is told what begins now, steps done, and steps in all."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    if not (quiet or console.is_terminal):
        yield Lines()
        return
    columns = (
        TextColumn("{task.description:<32}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, disable=quiet) as bar:
        task = bar.add_task("starting")

        def show(what: str, done: int, total: int) -> None:
            bar.update(task, description=what, completed=done, total=total)

        yield show


class Lines:
    """Progress where no terminal shows a bar: a line for each step, and one every ten seconds for how far it is."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` in seconds."""
        self._clock = clock
        self._step = ""
        self._told = -math.inf

    def __call__(self, what: str, done: int, total: int) -> None:
        """As what `progress_bar` gives. What stands behind a colon tells how far the step is."""
        step, now = what.partition(":")[0], self._clock()
        if step != self._step or now - self._told >= LINE_S:
            self._step, self._told = step, now
            typer.echo(f"{100 * done // max(total, 1):>3} %  {what}", err=True)


def reading(show: Progress) -> Progress:
    """Tells of a file that is read, and of bytes."""
    from engines.checkpoints.files import amount

    return lambda file, done, total: show(f"reading {file}: {amount(done, total)}", done, total)


async def _there(
    built: Built, model: Model, digest: str, runtime: str, devices: Sequence[str], precisions: Precisions
) -> dict[str, Manifest]:
    """The engines that are built, by device; those that nobody verified only for devices that are not here."""
    from engines.errors import EngineNotBuilt, EngineUnverified
    from engines.precision import suffix
    from engines.runtimes.registry import SHIPPED
    from engines.store import EngineStore, Prebuilt

    layers, here, there = EngineStore(Prebuilt(model.prebuilt), built), SHIPPED.find(runtime).here(), {}
    for device in devices:
        try:
            variant = f"{runtime}-{device}{suffix(precisions)}"
            found = await layers.find(model.name, digest, variant, unverified=device != here)
        except (EngineNotBuilt, EngineUnverified):
            continue  # so there is something to build
        there[device] = found.manifest
    return there
