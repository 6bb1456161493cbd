"""`longtake models`: what the models of this installation can do, and how well. Needs no running server.

Exit codes: those of `longtake engines`.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from serving.cli import models_added, models_step_cache
from serving.cli.engine_access import ModelName, StoreUrl, built_in, clear_errors, opened, steps_of
from serving.cli.output import Output
from serving.cli.stores import opened_store

if TYPE_CHECKING:
    from engines.models import Model
    from serving.store.base import Store

app = typer.Typer(name="models", help="Add models, show what they can do, and how well.", no_args_is_help=True)
app.command()(models_added.add)
app.command("rm")(models_added.remove)
app.command("step-cache")(models_step_cache.step_cache)


@app.command("ls")
def list_models(store: StoreUrl = None, output: Output = "text") -> None:
    """List the models of this installation: those that ship, and those that were added to its store."""
    with clear_errors():
        rows = asyncio.run(_rows(store))
    if output == "json":
        typer.echo(json.dumps(rows))
        return
    width = max(12, *(len(row["model"]) for row in rows))
    for row in rows:
        digest = row["digest"][:12] if row["digest"] else "engines not built"
        also = f" also: {', '.join(row['aliases'])}" if row["aliases"] else ""
        also += f" with {_adapters(row)}" if row["adapters"] else ""
        typer.echo(f"{row['model']:<{width}} {row['family']:<8} {digest:<18}{also}{row['problem']}")


@app.command()
def show(
    model: Annotated[str, typer.Argument(help="Name or alias of the model.")] = "sprite",
    store: StoreUrl = None,
    output: Output = "text",
) -> None:
    """Show what a model takes: sizes, seconds, steps, references, words.

    Example: longtake models show sprite
    """
    with clear_errors():
        row = asyncio.run(_row(model, store))
    if output == "json":
        typer.echo(json.dumps(row))
        return
    typer.echo(row["description"] + "\n")
    sizes = ", ".join(f"{c['aspect_ratio']} ({c['width']}x{c['height']})" for c in row["canvases"])
    lines = {
        "model": ", ".join((row["model"], *row["aliases"])),
        **({"adapters": _adapters(row)} if row["adapters"] else {}),
        "aspect ratios": sizes + ", width by height, before enlargement",
        "resolutions": ", ".join(f"{name} (x{scale})" for name, scale in row["resolutions"].items()),
        "images": ", ".join(f"{name} (at most {side})" for name, side in row["image_resolutions"].items())
        if row["image"]
        else "none",
        "frames a second": row["fps"],
        "seconds": _range(row["seconds"]),
        "extended by": _range(row["extension_seconds"]) if row["extension"] else "nothing: it extends no video",
        "steps": _range(row["steps"]),
        **({"step cache": f"{row['step_cache']:g}"} if row["step_cache"] else {}),
        "first frame": _first_frame(row),
        "references": f"at most {row['references_max']}",
        "prompt": f"at most {row['max_prompt_chars']} characters"
        + (", and a negative prompt" if row["negative_prompt"] else ""),
        "digest": row["digest"] or "engines not built: `longtake engines build`",
        "engines": ", ".join(
            one["variant"] + ("" if one["verified"] else " (not verified)") for one in row["variants"]
        ),
    }
    for name, value in lines.items():
        typer.echo(f"{name:<16} {value}")


@app.command()
def score(
    model: ModelName = "sprite",
    store: StoreUrl = None,
    table: Annotated[
        list[str] | None, typer.Option(help="Which one, once for each.", show_default="the one that is made soonest")
    ] = None,
    cases: Annotated[int, typer.Option(min=1, help="Videos for each row, on each canvas.")] = 8,
    steps: Annotated[int | None, typer.Option(min=1, help="Denoising steps.", show_default="the model's")] = None,
    seed: Annotated[int, typer.Option(help="Draws prompts, pictures and noise.")] = 1,
) -> None:
    """Measure how well a model follows prompts and keeps what it shows, through its engines, from pixels.

    Prints Markdown tables row by row. What is published is of 32 cases, and takes hours.

    Example: longtake models score --table directed --table memory --cases 32
    """
    from engines.families.buildable import ScoredFamily
    from engines.session import open_found
    from serving.errors import FailedPrecondition

    async def run() -> tuple[str, int]:
        async with opened(model, store) as (entry, found):
            if not isinstance(entry.family, ScoredFamily):
                raise FailedPrecondition(
                    f"the videos of {entry.name} cannot be scored: its family has no judge of them"
                )
            count = steps_of(steps, entry.family.capabilities.steps)
            tables = table or [entry.family.scores[0]]
            if unknown := [name for name in tables if name not in entry.family.scores]:
                raise ValueError(f"table: {unknown[0]!r}; {entry.name} has {', '.join(entry.family.scores)}")
            loaded = await open_found(entry.family, found)
        with loaded as session:
            for name in tables:
                typer.echo(f"{name}:\n")
                for line in entry.family.score(session, name, cases=cases, steps=count, seed=seed):
                    typer.echo(line)
                typer.echo("")
            return session.digest, count

    began = time.monotonic()
    with clear_errors():
        digest, count = asyncio.run(run())
    seconds = time.monotonic() - began
    typer.echo(f"Engines {digest[:12]}, {count} steps, seed {seed}, measured in {seconds:.0f} s.")


async def _rows(store_url: str | None) -> list[dict[str, Any]]:
    from engines import models
    from engines.errors import EngineError
    from serving import model_store
    from serving.errors import LongtakeError

    rows = []
    async with opened_store(store_url) as store:
        for name in [*(model.name for model in models.all_models()), *await model_store.added(store).names()]:
            try:
                rows.append(await _description(await model_store.find(name, store), store))
            except (EngineError, LongtakeError) as error:  # one that is damaged hides no other
                row: dict[str, Any] = {"model": name, "family": "", "digest": None, "aliases": (), "adapters": []}
                rows.append({**row, "problem": f"  {error}"})
    return rows


async def _row(name: str, store_url: str | None) -> dict[str, Any]:
    from serving import model_store

    async with opened_store(store_url) as store:
        model = await model_store.find(name, store)
        row = await _description(model, store)
        return {**row, "weights_digest": model.weights_digest(), "variants": await _variants(model, store)}


async def _variants(model: Model, store: Store) -> list[dict[str, Any]]:
    """The sets of engines that there are of its weights, of package and store. Those that are damaged, or that nobody
    signed who is trusted here, `engines ls --all` tells of."""
    from engines.errors import EngineError
    from engines.objects import read_set_name
    from engines.store import Prebuilt

    built, digest = built_in(store), model.weights_digest()
    found = [Prebuilt(model.prebuilt).manifest(model.name, digest)]
    for name, part in await built.sets():
        if (name, read_set_name(part)[0]) == (model.name, digest):
            with contextlib.suppress(EngineError):
                verified = await built.manifest(name, part)
                found.append(verified or await built.manifest(name, part, verified=False))
    return [
        {"variant": one.variant, "digest": one.digest, "verified": one.verified} for one in found if one is not None
    ]


async def _description(model: Model, store: Store) -> dict[str, Any]:
    """Capabilities and digest in plain values; the digest is None where there are no engines."""
    from engines.errors import EngineNotBuilt, EngineUnverified
    from engines.store import EngineStore, Prebuilt
    from serving.settings import load_settings

    try:
        layers, variant = EngineStore(Prebuilt(model.prebuilt), built_in(store)), load_settings().engines.variant
        found = await layers.find(model.name, model.weights_digest(), variant)
    except EngineNotBuilt:
        digest, problem = None, ""
    except EngineUnverified as error:
        digest, problem = None, f"  {error}"
    else:
        digest, problem = found.manifest.digest, ""
    adapters = [adapter.to_json() for adapter in model.recorded.adapters] if model.recorded else []
    return {**dataclasses.asdict(model.family.capabilities), "adapters": adapters, "digest": digest, "problem": problem}


def _adapters(row: dict[str, Any]) -> str:
    from engines.checkpoints.deltas import AdapterRecord

    return "; ".join(str(AdapterRecord.from_json(adapter)) for adapter in row["adapters"])


def _first_frame(row: dict[str, Any]) -> str:
    if not row["first_frame"]:
        return "none"
    return "may be given" if row["text"] else "required: it makes no video of text alone"


def _range(value: dict[str, int]) -> str:
    return f"{value['min']} to {value['max']}, {value['default']} by default"
