"""`longtake engines ls`, `explain` and `rm`: which engines there are, what each is, who made it and who uses it."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from serving.cli.engine_access import ModelName, Output, StoreUrl, clear_errors, opened, opened_built
from serving.stage_names import CONDITIONER, DENOISER, RENDERER, TEXT_ENCODER

if TYPE_CHECKING:
    from engines.families.base import EngineCall
    from engines.manifest import EngineEntry, Manifest
    from engines.models import Model
    from engines.store import Built, Found

_CALLERS: dict[EngineCall, str] = {
    "encode_text": TEXT_ENCODER,
    "encode_video": CONDITIONER,
    "step": DENOISER,
    "decode": RENDERER,
}
"""Which stage makes which call of a family (`deployments/replicas.py`)."""
_NUMBERS = {"MB", "parity", "engines"}


def list_engines(
    model: ModelName = "sprite",
    store: StoreUrl = None,
    everything: Annotated[
        bool, typer.Option("--all", help="All sets of package and store instead, other weights' too.")
    ] = False,
    output: Output = "text",
) -> None:
    """List a model's engines, their digests checked. Parity is the largest difference from torch, relative.

    Examples: longtake engines ls -o json; longtake engines ls --all
    """
    if everything:
        with clear_errors():
            sets = asyncio.run(_sets(store))
        if output == "json":
            typer.echo(json.dumps(sets))
        else:
            _print_table(
                "", ("model", "weights", "layer", "runtime", "engines", "MB", "parity", "signer", "state"), sets
            )
        return
    with clear_errors():
        value = asyncio.run(_describe(model, store))
    if output == "json":
        typer.echo(json.dumps(value))
    else:
        title = f"{value['model']}  {value['digest'][:12]}  ({value['layer']}, {_by(value['signer'])})"
        _print_table(title, ("component", "runtime", "MB", "parity", "key", "used by", "digest"), value["engines"])
        for row in value["engines"]:
            if row["problem"]:
                typer.echo(f"error: {row['problem']}", err=True)
    if not all(row["intact"] for row in value["engines"]):
        raise typer.Exit(1)


def explain(
    engine: Annotated[str, typer.Argument(help="A component, or the beginning of an engine's key.")],
    model: ModelName = "sprite",
    store: StoreUrl = None,
    output: Output = "text",
) -> None:
    """Tell all of one engine: what decides its key, where it lies, who signed it, who uses it.

    Example: longtake engines explain dit
    """
    with clear_errors():
        value = asyncio.run(_describe(model, store))
        rows = value.pop("engines")
        found = [row for row in rows if row["component"] == engine or (engine and row["key"].startswith(engine))]
        if len(found) != 1:
            raise ValueError(
                f"{engine!r}: no engine of {model}; there is {', '.join(row['component'] for row in rows)}"
            )
        row = {**value, **found[0]}
    if output == "json":
        typer.echo(json.dumps(row))
        return
    versions = " to below ".join(row["runtime_versions"])
    lines = {
        "engine": f"{row['component']} of {row['model']}",
        "key": row["key"],
        "  runtime": f"{row['runtime']} on {row['device']}, bound to {row['runtime_version']}",
        "  precision": f"{row['precision']}, profile {row['profile']}",
        "  graph": row["graph_digest"],
        "  weights": row["weights_digest"],
        "takes": "; ".join(row["takes"]),
        "gives": "; ".join(row["gives"]),
        "bytes": f"{row['size']:,}, sha256 {row['sha256']}",
        "lies in": row["layer"],
        "signed": _by(row["signer"]),
        "parity": f"{row['parity']:.1e} from torch, verified with "
        + ", ".join(f"{name} {version}" for name, version in sorted(row["verified_with"].items())),
        "loads with": f"{row['runtime']} {versions}",
        "used by": row["used by"] or "no stage",
        "state": "intact" if row["intact"] else row["problem"],
    }
    for name, text in lines.items():
        typer.echo(f"{name:<12} {text}")
    if not row["intact"]:
        raise typer.Exit(1)


def remove(
    model: ModelName = "sprite",
    store: StoreUrl = None,
    weights: Annotated[
        str, typer.Option(help="Digest of its weights, or how it begins.", show_default="the package's weights")
    ] = "",
    force: Annotated[bool, typer.Option("--force", help="Also the engines that a start would load.")] = False,
) -> None:
    """Remove a model's engines from a store. They are loaded no more; their bytes stay.

    Example: longtake engines rm --model sprite --weights 3fa91c
    """
    with clear_errors():
        digest = asyncio.run(_remove(model, store, weights, force=force))
    typer.echo(f"removed the engines of {model}, weights {digest[:12]}; their bytes stay under engines/blobs")


async def _describe(name: str, store_url: str | None) -> dict[str, Any]:
    """A model's engines as they are loaded, in plain values."""
    from engines.errors import EngineError

    async with opened(name, store_url) as (model, found):
        rows = []
        for entry in found.manifest.engines:
            problem = None
            try:
                await found.read(entry)
            except EngineError as error:
                problem = str(error)
            rows.append(_row(model, entry, problem))
        return {**_of_set(found.manifest), "layer": found.layer.name, "signer": await _signer(found), "engines": rows}


async def _signer(found: Found) -> str | None:
    """Id and name; None for the package, whose engines need none."""
    from engines.store import Prebuilt

    if isinstance(found.layer, Prebuilt):
        return None
    model, weights = found.manifest.model, found.manifest.weights_digest
    data = await found.layer.manifest_bytes(model, weights)
    return None if data is None else _name(await found.layer.signer(model, weights, data))


async def _sets(store_url: str | None) -> list[dict[str, Any]]:
    """Every set of the package and of the store, whether it would be loaded or not."""
    from engines import models
    from engines.store import Prebuilt

    rows = []
    for model in models.all_models():
        manifest = Prebuilt(model.prebuilt).manifest(model.name, None)
        if manifest is not None:
            rows.append({**_summary(manifest), "layer": "prebuilt", "signer": "the package", "state": _use(manifest)})
    async with opened_built(store_url) as built:
        rows += [await _of_built(built, model, weights) for model, weights in await built.sets()]
    return [row for row in rows if row]


async def _of_built(built: Built, model: str, weights: str) -> dict[str, Any]:
    from engines.errors import EngineError

    signer, state = "", ""
    row: dict[str, Any] = {"model": model, "weights": weights[:12], "weights_digest": weights}
    try:
        data = await built.manifest_bytes(model, weights)
        if data is None:
            return {}
        manifest = built.parse(model, weights, data)
        row |= _summary(manifest)
        signer = _name(await built.signer(model, weights, data))
        state = _use(manifest)
    except EngineError as error:
        state = f"REFUSED: {error}"
    return {**row, "layer": "built", "signer": signer, "state": state}


async def _remove(name: str, store_url: str | None, weights: str, *, force: bool) -> str:
    from engines import models
    from engines.errors import EngineNotBuilt
    from engines.store import Prebuilt
    from serving.errors import FailedPrecondition

    model = models.find(name)
    served = model.weights_digest() or ""
    async with opened_built(store_url) as built:
        found = [
            digest for of, digest in await built.sets() if of == model.name and digest.startswith(weights or served)
        ]
        if len(found) != 1:
            raise EngineNotBuilt(f"{len(found)} sets of {model.name} in the store are of weights {weights or served!r}")
        if found[0] == served and Prebuilt(model.prebuilt).manifest(model.name, served) is None and not force:
            data = await built.manifest_bytes(model.name, served)
            if data is not None and await _trusted(built, model.name, served, data):
                raise FailedPrecondition(
                    f"these are the engines that {model.name} is served with, and the package has none: the next start "
                    "of a stage would fail. Name --force, and build them again"
                )
        if not await built.remove(model.name, found[0]):
            raise EngineNotBuilt(f"the engines of {model.name}, weights {found[0][:12]}, were removed before")
        return found[0]


async def _trusted(built: Built, model: str, weights: str, data: bytes) -> bool:
    """Whether they would be loaded: what is refused is nobody's."""
    from engines.errors import EngineError

    try:
        await built.signer(model, weights, data)
        built.parse(model, weights, data)
    except EngineError:
        return False
    return True


def _name(key: Any) -> str:
    return f"{key.id} {key.name}".rstrip()


def _by(signer: str | None) -> str:
    return f"signed by {signer}" if signer else "trusted as the package is"


def _of_set(manifest: Manifest) -> dict[str, Any]:
    return {
        "model": manifest.model,
        "digest": manifest.digest,
        "weights_digest": manifest.weights_digest,
        "runtime_versions": list(manifest.runtime_versions),
        "verified_with": dict(manifest.verified_with),
    }


def _summary(manifest: Manifest) -> dict[str, Any]:
    size = sum(entry.size for entry in manifest.engines)
    return {
        **_of_set(manifest),
        "weights": manifest.weights_digest[:12],
        "runtime": f"{manifest.runtime} {', '.join(sorted({entry.spec.device for entry in manifest.engines}))}",
        "engines": len(manifest.engines),
        "size": size,
        "MB": f"{size / 1e6:.2f}",
        "parity": max(entry.parity for entry in manifest.engines),
    }


def _use(manifest: Manifest) -> str:
    """Whether they are the engines of weights that this installation serves."""
    from engines import models

    served = {model.name: model.weights_digest() for model in models.all_models()}
    if manifest.model not in served:
        return "of a model that is not installed"
    return "served" if served[manifest.model] == manifest.weights_digest else "of other weights: used by nobody"


def _row(model: Model, entry: EngineEntry, problem: str | None) -> dict[str, Any]:
    used = [stage for call, stage in _CALLERS.items() if entry.component in model.family.uses.get(call, ())]
    return {
        "component": entry.component,
        "key": entry.key,
        "runtime": entry.spec.runtime,
        "runtime_version": entry.runtime_version,
        "precision": entry.spec.precision,
        "profile": entry.spec.profile,
        "device": entry.spec.device,
        "graph_digest": entry.graph_digest,
        "sha256": entry.sha256,
        "size": entry.size,
        "MB": f"{entry.size / 1e6:.2f}",
        "parity": entry.parity,
        "takes": [str(tensor) for tensor in entry.spec.component.inputs],
        "gives": [str(tensor) for tensor in entry.spec.component.outputs],
        "used by": ", ".join(used),
        "intact": problem is None,
        "digest": "intact" if problem is None else "[red]NOT INTACT[/red]",
        "problem": problem,
    }


def _print_table(title: str, columns: tuple[str, ...], rows: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title or None, title_justify="left")
    for column in columns:
        table.add_column(column, justify="right" if column in _NUMBERS else "left", no_wrap=True)
    for row in rows:
        cells = []
        for column in columns:
            value = row.get(column, "")
            if column == "key":
                value = value[:12]
            elif column == "parity" and value != "":
                value = f"{value:.1e}"
            elif column == "runtime" and "device" in row:
                value = f"{value} {row['device']}"
            cells.append(str(value))
        table.add_row(*cells)
    console = Console()
    console.width = max(console.width, 150)  # a digest that is cut short names nothing
    console.print(table)
