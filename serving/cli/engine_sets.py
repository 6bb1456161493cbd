"""`longtake engines ls`, `explain` and `rm`: which engines there are, what each is, and which shall be no more."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from serving.cli.engine_access import ModelName, StoreUrl, Variant, built_in, clear_errors
from serving.cli.engine_rows import all_sets, engines_of
from serving.cli.output import Output
from serving.cli.stores import opened_store

if TYPE_CHECKING:
    from engines.store import Built

_OF_ENGINES = ("component", "runtime", "precision", "MB", "parity", "key", "used by", "digest")
_OF_SETS = ("model", "weights", "layer", "variant", "engines", "MB", "parity", "signer", "state")
_NUMBERS = {"MB", "parity", "engines"}


def list_engines(
    model: ModelName = "sprite",
    store: StoreUrl = None,
    variant: Variant = None,
    everything: Annotated[
        bool, typer.Option("--all", help="All sets of package and store instead, other weights' too.")
    ] = False,
    output: Output = "text",
) -> None:
    """List a model's engines, their digests checked.

    Of large weights beside an engine the size is compared alone: loading them checks the rest. Parity is the largest
    difference from torch, relative.

    Examples: longtake engines ls -o json; longtake engines ls --all
    """
    if everything:
        with clear_errors():
            sets = asyncio.run(all_sets(store))
        if output == "json":
            typer.echo(json.dumps(sets))
        else:
            _print_table("", _OF_SETS, sets)
        return
    with clear_errors():
        value = asyncio.run(engines_of(model, store, variant))
    if output == "json":
        typer.echo(json.dumps(value))
    else:
        title = f"{value['model']}  {value['digest'][:12]}  ({value['layer']}, {_by(value['signer'])}{_state(value)})"
        _print_table(title, _OF_ENGINES, value["engines"])
        for row in value["engines"]:
            if row["problem"]:
                typer.echo(f"error: {row['problem']}", err=True)
    if not all(row["intact"] for row in value["engines"]):
        raise typer.Exit(1)


def explain(
    engine: Annotated[str, typer.Argument(help="A component, or the beginning of an engine's key.")],
    model: ModelName = "sprite",
    store: StoreUrl = None,
    variant: Variant = None,
    output: Output = "text",
) -> None:
    """Tell what one engine is, who signed it and who uses it.

    Example: longtake engines explain dit
    """
    with clear_errors():
        value = asyncio.run(engines_of(model, store, variant))
        rows = value.pop("engines")
        found = [row for row in rows if row["component"] == engine or (engine and row["key"].startswith(engine))]
        if len(found) != 1:
            raise ValueError(
                f"{engine!r}: no engine of {model}; there is {', '.join(row['component'] for row in rows)}"
            )
        row = {**value, **found[0]}
    if output == "json":
        typer.echo(json.dumps(row))
    else:
        for name, text in _lines(row).items():
            typer.echo(f"{name:<12} {text}")
    if not row["intact"]:
        raise typer.Exit(1)


def remove(
    model: ModelName = "sprite",
    store: StoreUrl = None,
    weights: Annotated[
        str, typer.Option(help="Digest of its weights, or how it begins.", show_default="the package's weights")
    ] = "",
    variant: Variant = None,
    force: Annotated[bool, typer.Option("--force", help="Also the engines that a start would load.")] = False,
) -> None:
    """Remove a model's engines from a store. They are loaded no more; `longtake gc` frees their bytes after a day.

    Example: longtake engines rm --model sprite --weights 3fa91c
    """
    with clear_errors():
        digest, manifest = asyncio.run(_remove(model, store, weights, variant, force=force))
    typer.echo(f"removed the engines of {model}, weights {digest[:12]}; `longtake gc` frees their bytes after a day")
    typer.echo(
        f"to refuse them should somebody put them back: longtake engines trust refuse {manifest}, on each machine that "
        "serves",
        err=True,
    )


async def _remove(
    name: str, store_url: str | None, weights: str, variant: str | None, *, force: bool
) -> tuple[str, str]:
    """Digests of the weights and of the manifest."""
    from engines.errors import EngineNotBuilt
    from engines.objects import USUAL, read_set_name, set_name
    from engines.store import Prebuilt
    from serving import model_store
    from serving.errors import EngineMissing, FailedPrecondition, SettingsError
    from serving.settings import load_settings

    chosen = load_settings().engines.variant or USUAL
    variant = variant or chosen
    async with opened_store(store_url) as store:
        built, known, served = built_in(store), None, None
        with contextlib.suppress(SettingsError, EngineMissing):  # a set outlives its model, and its model's record
            known = await model_store.find(name, store)
            name, served = known.name, known.weights_digest()
        wanted = weights or served or ""
        parts = [read_set_name(part) for of, part in await built.sets() if of == name]
        sets = [digest for digest, of in parts if of == variant]
        found = [digest for digest in sets if wanted and digest.startswith(wanted)]
        if len(found) != 1:
            there = ", ".join(digest[:12] for digest in sets) or "nothing"
            raise EngineNotBuilt(
                f"--weights {wanted!r} names {len(found)} sets of {name} for {variant} in the store; there is {there}"
            )
        [digest] = found
        needed = known is not None and (digest, variant) == (served, chosen)
        if needed and known is not None and variant == USUAL:
            needed = Prebuilt(known.prebuilt).manifest(name, served) is None
        if needed and not force and await _trusted(built, name, set_name(digest, variant)):
            raise FailedPrecondition(
                f"these are the engines that {name} is served with, and the package has none: the next start of a "
                "stage would fail. Name --force, and build them again"
            )
        manifest = await built.remove(name, set_name(digest, variant))
        if manifest is None:
            raise EngineNotBuilt(f"the engines of {name}, weights {digest[:12]}, were removed before")
        return digest, manifest


async def _trusted(built: Built, model: str, weights: str) -> bool:
    """Whether they would be loaded: what is refused is nobody's."""
    from engines.errors import EngineError

    try:
        return await built.manifest(model, weights) is not None
    except EngineError:
        return False


def _by(signer: str | None) -> str:
    return f"signed by {signer}" if signer else "trusted as the package is"


def _lines(row: dict[str, Any]) -> dict[str, str]:
    """What there is to tell of an engine."""
    versions = " to below ".join(row["runtime_versions"])
    return {
        "engine": f"{row['component']} of {row['model']}",
        "key": row["key"],
        "  runtime": f"{row['runtime']} on {row['device']}, bound to {row['runtime_version']}",
        "  precision": f"{row['precision']}, profile {row['profile']}",
        "  graph": row["graph_digest"],
        "  weights": row["weights_digest"],
        "takes": "; ".join(row["takes"]),
        "gives": "; ".join(row["gives"]),
        "bytes": f"{row['size']:,}, sha256 {row['sha256']}",
        **{f"beside {at}": f"{file['size']:,}, sha256 {file['sha256']}" for at, file in enumerate(row["weights"], 1)},
        "lies in": row["layer"],
        "signed by": row["signer"] or "nobody: trusted as the package is",
        **({"manifest": row["manifest"]} if row["manifest"] else {}),
        "parity": _compared(row),
        **{
            f"  {one['batch']} row{'' if one['batch'] == 1 else 's'}": f"{one['largest']:.1e} at most, "
            f"{one['mean']:.1e} in the mean, cosine 1 - {one['one_minus_cosine']:.1e}"
            for one in row["compared"]
        },
        "loads with": f"{row['runtime']} {versions}",
        "used by": row["used by"] or "no stage",
        "state": "intact" if row["intact"] else row["problem"],
    }


def _compared(row: dict[str, Any]) -> str:
    if row["parity"] is None:
        return f"compiled, and compared with nothing yet{_state(row)}"
    versions = ", ".join(f"{name} {version}" for name, version in sorted(row["verified_with"].items()))
    return f"{row['parity']:.1e} from torch, verified with {versions}"


def _state(value: dict[str, Any]) -> str:
    """What is still to be done with a set."""
    if value["verified"]:
        return ""
    return f"; not served: `longtake engines verify --variant {value['variant']}` where the GPU is"


def _print_table(title: str, columns: tuple[str, ...], rows: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title or None, title_justify="left")
    for column in columns:
        table.add_column(column, justify="right" if column in _NUMBERS else "left", no_wrap=True)
    for row in rows:
        cells = []
        for column in columns:
            value = row.get(column, "")
            if column == "key":
                value = value[:12]
            elif column == "parity":
                value = "-" if value in (None, "") else f"{value:.1e}"
            elif column == "runtime" and "device" in row:
                value = f"{value} {row['device']}"
            cells.append(Text(str(value), style="red" if value == "NOT INTACT" else ""))
        table.add_row(*cells)
    console = Console()
    console.width = max(console.width, 150)  # a digest that is cut short names nothing
    console.print(table)
