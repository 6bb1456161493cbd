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
from serving.cli.engine_access import ModelName, Output, StoreUrl, clear_errors, opened, opened_store
from serving.cli.engine_build import build_into_store, ends_at_once, progress_bar

if TYPE_CHECKING:
    from engines.building.verify import Parity
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
    """Build a model's engines, verify them, and publish them.

    They are compared with torch. Into a store they are signed, with a key that the first build makes. Where another
    builder is at it already, this one waits and takes what that one made. Needs the extra: pip install
    'longtake[build]'.

    Example: longtake engines build --model sprite
    """
    if weights is not None and into == "store":
        typer.echo("error: --weights goes with --into prebuilt: a store serves the package's weights alone", err=True)
        raise typer.Exit(2)
    with clear_errors(), ends_at_once():
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
    """Check that the engines compute what the model does.

    On random inputs, by component and end to end. With torch installed they are compared with the model's own modules,
    else with the answers that these gave when the engines were built.
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
    from engines import models
    from engines.building import build as builder
    from engines.checkpoints.files import Folder
    from engines.runtimes.registry import SHIPPED
    from engines.store import Prebuilt
    from serving import model_store

    if into == "store":
        async with opened_store(store_url) as store:
            model = await model_store.find(name, store)
            async with model_store.weights_of(model, store) as found:
                return await build_into_store(store, model, found, runtime_name=runtime_name, quiet=quiet)
    model, files = models.find(name), Folder(weights) if weights else None
    runtime = SHIPPED.find(runtime_name) if runtime_name else SHIPPED.default()
    with progress_bar(quiet=quiet) as show:
        prebuilt = Prebuilt(model.prebuilt)
        return await builder.build(model, prebuilt, weights=files, runtime=runtime, progress=show), True


async def _verify(name: str, store_url: str | None) -> tuple[Parity, str]:
    """Largest differences, and from what."""
    from engines.building import build as builder
    from engines.building import verify
    from engines.session import open_found

    async with opened(name, store_url) as (model, found):
        session = await open_found(model.family, found)
    with session:
        shipped = model.weights_digest()
        if builder.missing_packages() or shipped is None or model.recorded is not None:
            parity = verify.check_probes(model.family, session, found.manifest)
            return parity, "the answers of torch that the manifest keeps"
        components = {entry.component: entry.spec.component for entry in found.manifest.engines}
        modules = builder.graphs_of(model, model.weights)
        with builder.reference_session(model, modules, components, shipped) as reference:
            return verify.compare(model.family, session, verify.record(model.family, reference)), "torch"
