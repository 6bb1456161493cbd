"""`longtake engines`: list, build, verify and remove the compiled engines of a model. Needs no running server.

What is signed and trusted stands in `engine_keys.py`, what sets there are in `engine_sets.py`; exit codes in
`engine_access.py`.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from serving.cli import engine_keys, engine_sets
from serving.cli.engine_access import ModelName, Output, StoreUrl, clear_errors, opened, opened_built, own_key

if TYPE_CHECKING:
    from engines.building.verify import Parity
    from engines.claims import Waiting
    from engines.manifest import Manifest

app = typer.Typer(
    name="engines",
    help="List, build, verify, sign and remove the compiled engines of a model.",
    no_args_is_help=True,
)
Into = Annotated[
    Literal["store", "prebuilt"],
    typer.Option(help="Where to: Longtake's store, or (for maintainers) the package's own folder."),
]
Weights = Annotated[
    Path | None,
    typer.Option(help="Folder of *.safetensors; default: the weights of the package.", show_default=False),
]

RuntimeName = Annotated[
    str | None,
    typer.Option("--runtime", help="What compiles and runs them.", show_default="ONNX Runtime"),
]


def build(
    model: ModelName = "sprite",
    into: Into = "store",
    store: StoreUrl = None,
    weights: Weights = None,
    runtime: RuntimeName = None,
    output: Output = "text",
) -> None:
    """Build a model's engines: export, check, compile, compare with torch, and publish.

    Into a store they are signed, with a key that the first build makes. Where another builder is at it already, this
    one waits and takes what that one made. Needs the extra: pip install 'longtake[build]'.

    Example: longtake engines build --model sprite
    """
    if weights is not None and into == "store":
        typer.echo("error: --weights goes with --into prebuilt: a store serves the package's weights alone", err=True)
        raise typer.Exit(2)
    with clear_errors():
        made, built = asyncio.run(_build(model, into, store, weights, runtime, quiet=output == "json"))
    if output == "json":
        typer.echo(json.dumps({"model": made.model, "digest": made.digest, "built": built}))
    elif built:
        worst = max(entry.parity for entry in made.engines)
        size = sum(entry.size for entry in made.engines) / 1e6
        typer.echo(
            f"{made.model}: {len(made.engines)} engines, {size:.1f} MB, verified (largest difference {worst:.1g})"
        )
    else:
        typer.echo(f"{made.model}: its engines are there already; `longtake engines verify` checks them")


def verify(model: ModelName = "sprite", store: StoreUrl = None, output: Output = "text") -> None:
    """Check that the engines compute what the model does, on random inputs, by component and end to end.

    With torch installed they are compared with the model's own modules, else with the answers that these gave
    when the engines were built.
    """
    with clear_errors():
        parity, against = asyncio.run(_verify(model, store))
    problems = parity.problems()
    if output == "json":
        value = {"components": dict(parity.components), "run": parity.run, "frames": parity.frames}
        typer.echo(json.dumps({**value, "against": against, "ok": not problems}))
    else:
        for name, difference in parity.components.items():
            typer.echo(f"{name:<20} {difference:.1e}")
        typer.echo(f"{'whole runs':<20} {parity.run:.1e}   pixels: {parity.frames:g} levels of 255")
        typer.echo(f"Largest differences, relative, against {against}: " + ("fine" if not problems else "NOT fine"))
    for problem in problems:
        typer.echo(f"error: {problem}", err=True)
    if problems:
        raise typer.Exit(1)


app.command("ls")(engine_sets.list_engines)
app.command()(engine_sets.explain)
app.command()(build)
app.command()(verify)
app.command("rm")(engine_sets.remove)
app.command()(engine_keys.keygen)
app.command()(engine_keys.sign)
app.add_typer(engine_keys.trust)


async def _build(
    name: str, into: str, store_url: str | None, weights: Path | None, runtime_name: str | None, *, quiet: bool
) -> tuple[Manifest, bool]:
    """The manifest, and whether anything had to be built."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from engines import models
    from engines.building import build as builder
    from engines.claims import Claims
    from engines.errors import EngineNotBuilt
    from engines.manifest import missing_message
    from engines.runtimes.registry import SHIPPED
    from engines.store import Prebuilt

    model = models.find(name)
    runtime = SHIPPED.find(runtime_name) if runtime_name else SHIPPED.default()
    if into == "store" and (there := await _there(name, store_url, runtime.name)):
        return there, False
    digest = models.digest_of_weights(model.weights)
    if into == "store" and digest is None:
        raise EngineNotBuilt(missing_message(model.name, "weights"))
    builder.demand_packages()
    columns = (
        TextColumn("{task.description:<32}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), disable=quiet) as bar:
        task = bar.add_task("starting")

        def show(what: str, done: int, total: int) -> None:
            bar.update(task, description=what, completed=done, total=total)

        def wait(other: Waiting) -> None:
            bar.update(task, description=f"{other.holder} builds them: {other.doing}")

        if digest is None or into == "prebuilt":
            prebuilt = Prebuilt(model.prebuilt)
            return await builder.build(model, prebuilt, weights=weights, runtime=runtime, progress=show), True
        async with (
            opened_built(store_url, key=own_key()) as built,
            Claims(built.objects).turn(model.name, digest, wait) as claim,
        ):
            if there := await _there(name, store_url, runtime.name):  # of the builder that was waited for
                return there, False

            def tell(what: str, done: int, total: int) -> None:
                claim.doing = f"{what} ({done} of {total})"
                show(what, done, total)

            return await builder.build(model, built, weights=weights, runtime=runtime, progress=tell), True


async def _there(name: str, store_url: str | None, runtime: str) -> Manifest | None:
    """The engines, if they are built. Raises `FailedPrecondition` when they are another runtime's."""
    from engines.errors import EngineNotBuilt
    from serving.errors import FailedPrecondition

    try:
        async with opened(name, store_url) as (model, found):
            if found.manifest.runtime != runtime:
                raise FailedPrecondition(
                    f"engines of {model.name} for {found.manifest.runtime} are there already ({found.layer.name}), "
                    f"and come before any for {runtime}: replace them with --into prebuilt"
                )
            return found.manifest
    except EngineNotBuilt:
        return None  # so there is something to build


async def _verify(name: str, store_url: str | None) -> tuple[Parity, str]:
    """Largest differences, and from what."""
    from engines.building import build as builder
    from engines.building import verify
    from engines.session import open_found

    async with opened(name, store_url) as (model, found):
        session = await open_found(model.family, found)
    with session:
        shipped = model.weights_digest()
        if builder.missing_packages() or shipped is None:
            parity = verify.check_probes(model.family, session, found.manifest)
            return parity, "the answers of torch that the manifest keeps"
        components = {entry.component: entry.spec.component for entry in found.manifest.engines}
        with builder.reference_session(model, model.weights, components, shipped) as reference:
            return verify.compare(model.family, session, verify.record(model.family, reference)), "torch"
