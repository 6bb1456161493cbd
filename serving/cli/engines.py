"""`longtake engines`: list, build, verify and remove the compiled engines of a model. Needs no running server.

What is signed and trusted stands in `engine_keys.py`, what sets there are in `engine_sets.py`, whether they compute
what they should in `engine_verify.py`, how a server is given them in `engine_triton.py`; exit codes in
`engine_access.py`.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from serving.cli import engine_keys, engine_sets, engine_triton, engine_verify
from serving.cli.engine_access import ModelName, PrecisionName, StoreUrl, clear_errors, demand_vouched
from serving.cli.engine_build import build_into_store, ends_at_once, progress_bar
from serving.cli.output import Output
from serving.cli.stores import opened_store

if TYPE_CHECKING:
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


Targets = Annotated[
    list[str] | None,
    typer.Option(
        "--target",
        help="A GPU's architecture, sm89 or its like, once for each; default: the one here.",
        show_default=False,
    ),
]


def build(
    model: ModelName = "sprite",
    into: Into = "store",
    store: StoreUrl = None,
    weights: Weights = None,
    runtime: RuntimeName = None,
    target: Targets = None,
    precision: PrecisionName = "",
    output: Output = "text",
) -> None:
    """Build a model's engines, verify them, and publish them.

    They are compared with torch. Into a store they are signed, with a key that the first build makes. Where another
    builder is at it already, this one waits and takes what that one made. What is compiled for a GPU that is not here
    cannot be compared: no stage loads it before `longtake engines verify` has run where such a GPU is. Needs the extra:
    pip install 'longtake[build]'.

    Examples: longtake engines build --model sprite; longtake engines build --runtime tensorrt_rtx --target sm89
    --precision dit=bf16
    """
    if precision and into == "prebuilt":
        typer.echo("error: --precision goes with --into store: the package has engines in fp32 alone", err=True)
        raise typer.Exit(2)
    if weights is not None and into == "store":
        typer.echo("error: --weights goes with --into prebuilt: a store serves the package's weights alone", err=True)
        raise typer.Exit(2)
    with clear_errors(), ends_at_once():
        sets = asyncio.run(
            _build(model, into, store, weights, runtime, target or [], precision, quiet=output == "json")
        )
    for made, new in sets:
        typer.echo(json.dumps(_told(made, new=new)) if output == "json" else _sentence(made, new=new))


app.command("ls")(engine_sets.list_engines)
app.command()(engine_sets.explain)
app.command()(build)
app.command()(engine_verify.verify)
app.command()(engine_verify.report)
app.command("triton-repo")(engine_triton.triton_repo)
app.command("rm")(engine_sets.remove)
app.command()(engine_keys.keygen)
app.command()(engine_keys.sign)
app.add_typer(engine_keys.trust)


def _told(made: Manifest, *, new: bool) -> dict[str, object]:
    return {
        "model": made.model,
        "variant": made.variant,
        "digest": made.digest,
        "built": new,
        "verified": made.verified,
    }


def _sentence(made: Manifest, *, new: bool) -> str:
    from engines.manifest import unverified_message

    size = sum(entry.bytes_in_all for entry in made.engines) / 1e6
    if not made.verified:
        return f"{made.model}: {len(made.engines)} engines, {size:.1f} MB, compiled: {unverified_message(made)}"
    if not new:
        return f"{made.model}: its engines for {made.variant} are there already; `longtake engines verify` checks them"
    worst = max(entry.parity for entry in made.engines)
    return f"{made.model}: {len(made.engines)} engines, {size:.1f} MB, verified (largest difference {worst:.1g})"


async def _build(
    name: str,
    into: str,
    store_url: str | None,
    weights: Path | None,
    runtime_name: str | None,
    targets: list[str],
    precision: str,
    *,
    quiet: bool,
) -> list[tuple[Manifest, bool]]:
    """The manifests, and of each whether it had to be built."""
    from engines import models
    from engines.building import build as builder
    from engines.checkpoints.files import Folder
    from engines.runtimes.registry import SHIPPED
    from engines.store import Prebuilt
    from serving import model_store

    if into == "store":
        async with opened_store(store_url, make=True) as store:
            model = await model_store.find(name, store)
            if not models.ships(model.name):
                await demand_vouched(store, model.name, model.weights_digest())
            async with model_store.sources_of(model, store) as sources:
                return await build_into_store(
                    store,
                    model,
                    sources,
                    runtime_name=runtime_name,
                    targets=targets,
                    precision=precision,
                    quiet=quiet,
                )
    model, files = models.find(name), Folder(weights) if weights else None
    runtime = SHIPPED.find(runtime_name) if runtime_name else SHIPPED.default()
    with progress_bar(quiet=quiet) as show:
        prebuilt = Prebuilt(model.prebuilt)
        made = await builder.build(model, prebuilt, weights=files, runtime=runtime, targets=targets, progress=show)
        return [(one, True) for one in made]
