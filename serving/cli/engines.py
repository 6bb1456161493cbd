"""`longtake engines`: list, build and verify the compiled engines of a model. Needs no running server.

Exit codes: 0 ok, 1 an engine is corrupt or does not compute what its model does, 2 a setting or an installed
package is wrong, 3 there are no engines.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

if TYPE_CHECKING:
    from engines.building.verify import Parity
    from engines.manifest import EngineEntry, Manifest
    from engines.models import Model
    from engines.store import Built, Found

app = typer.Typer(name="engines", help="List, build and verify the compiled engines of a model.", no_args_is_help=True)

ModelName = Annotated[str, typer.Option("--model", "-m", help="Name or alias of the model.")]
StoreUrl = Annotated[
    str | None,
    typer.Option("--store", help="A store with engines built there; default: the setting `store`.", show_default=False),
]
Output = Annotated[Literal["text", "json"], typer.Option("--output", "-o", help="`text` or `json`.")]
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


@app.command("ls")
def list_engines(model: ModelName = "sprite", store: StoreUrl = None, output: Output = "text") -> None:
    """List a model's engines, their digests checked. Parity is the largest difference from torch, relative.

    Example: longtake engines ls -o json
    """
    with clear_errors():
        rows, found = asyncio.run(_list(model, store))
    if output == "json":
        value = {"model": found.manifest.model, "digest": found.manifest.digest, "layer": found.layer.name}
        typer.echo(json.dumps({**value, "engines": rows}))
    else:
        _print_table(f"{found.manifest.model}  {found.manifest.digest[:12]}  ({found.layer.name})", rows)
    if not all(row["intact"] for row in rows):
        raise typer.Exit(1)


@app.command()
def build(
    model: ModelName = "sprite",
    into: Into = "store",
    store: StoreUrl = None,
    weights: Weights = None,
    runtime: RuntimeName = None,
    output: Output = "text",
) -> None:
    """Build a model's engines: export, check, compile, compare with torch, and publish.

    Needs the extra: pip install 'longtake[build]'. Example: longtake engines build --model sprite
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


@app.command()
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


@contextmanager
def clear_errors() -> Iterator[None]:
    """Turn what is wrong into one line and an exit code."""
    from engines.errors import EngineCorrupt, EngineNotBuilt, EngineUnfit
    from serving.errors import LongtakeError

    try:
        yield
    except EngineNotBuilt as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(3) from error
    except (EngineCorrupt, EngineUnfit) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from error
    except (LongtakeError, ValueError, OSError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from error


@asynccontextmanager
async def opened(name: str, store_url: str | None) -> AsyncIterator[tuple[Model, Found]]:
    """A model and its engines. The store is opened only if named, or if the package has none for its weights."""
    from engines import models
    from engines.errors import EngineNotBuilt
    from engines.store import EngineStore

    model = models.find(name)
    digest = model.weights_digest()
    found = None
    if store_url is None:
        try:
            found = await model.package_store().find(model.name, digest)
        except EngineNotBuilt:
            found = None  # not in the package: look in the store of the settings
    if found is not None:
        yield model, found
        return
    async with _built(store_url) as built:
        yield model, await EngineStore(built=built).find(model.name, digest)


@asynccontextmanager
async def _built(store_url: str | None) -> AsyncIterator[Built]:
    from serving.engine_store import built
    from serving.settings import load_settings
    from serving.store.open import open_store

    store = await open_store(store_url or load_settings().store, probe=False)
    try:
        yield built(store)
    finally:
        await store.close()


async def _list(name: str, store_url: str | None) -> tuple[list[dict[str, Any]], Found]:
    from engines.errors import EngineError

    rows = []
    async with opened(name, store_url) as (_, found):
        for entry in found.manifest.engines:
            problem = None
            try:
                await found.read(entry)
            except EngineError as error:
                problem = str(error)
            rows.append(_row(entry, problem))
    return rows, found


def _row(entry: EngineEntry, problem: str | None) -> dict[str, Any]:
    return {
        "component": entry.component,
        "key": entry.key,
        "runtime": entry.spec.runtime,
        "precision": entry.spec.precision,
        "device": entry.spec.device,
        "size": entry.size,
        "parity": entry.parity,
        "intact": problem is None,
        "problem": problem,
    }


def _print_table(title: str, rows: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    for column in ("component", "runtime", "MB", "parity", "key", "digest"):
        table.add_column(column, justify="right" if column in ("MB", "parity") else "left", no_wrap=True)
    for row in rows:
        table.add_row(
            row["component"],
            f"{row['runtime']} {row['device']}",
            f"{row['size'] / 1e6:.2f}",
            f"{row['parity']:.1e}",
            row["key"][:12],
            "intact" if row["intact"] else "[red]NOT INTACT[/red]",
        )
    Console().print(table)
    for row in rows:
        if row["problem"]:
            typer.echo(f"error: {row['problem']}", err=True)


async def _build(
    name: str, into: str, store_url: str | None, weights: Path | None, runtime_name: str | None, *, quiet: bool
) -> tuple[Manifest, bool]:
    """The manifest, and whether anything had to be built."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from engines import models
    from engines.building import build as builder
    from engines.errors import EngineNotBuilt
    from engines.runtimes.registry import SHIPPED
    from engines.store import Prebuilt
    from serving.errors import FailedPrecondition

    model = models.find(name)
    runtime = SHIPPED.find(runtime_name) if runtime_name else SHIPPED.default()
    if into == "store":
        try:
            async with opened(name, store_url) as (_, found):
                if found.manifest.runtime != runtime.name:
                    raise FailedPrecondition(
                        f"engines of {model.name} for {found.manifest.runtime} are there already ({found.layer.name}), "
                        f"and come before any for {runtime.name}: replace them with --into prebuilt"
                    )
                return found.manifest, False
        except EngineNotBuilt:
            pass  # so there is something to build
    columns = (TextColumn("{task.description:<32}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), disable=quiet) as bar:
        task = bar.add_task("starting")

        def show(what: str, done: int, total: int) -> None:
            bar.update(task, description=what, completed=done, total=total)

        if into == "prebuilt":
            return await builder.build(
                model, Prebuilt(model.prebuilt), weights=weights, runtime=runtime, progress=show
            ), True
        async with _built(store_url) as built:
            return await builder.build(model, built, weights=weights, runtime=runtime, progress=show), True


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
