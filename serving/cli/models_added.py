"""`longtake models add` and `rm`: checkpoints that an operator brings become models of an installation.

Adding one reads the checkpoint once, builds its engines, and registers it last, so that nothing is there half.
"""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from serving.cli.engine_access import PrecisionName, StoreUrl, built_in, clear_errors
from serving.cli.engine_build import reading
from serving.cli.models_adapted import add_adapted
from serving.cli.output import Output
from serving.cli.stores import opened_store

if TYPE_CHECKING:
    from engines.added import Added
    from engines.families.buildable import Sizes
    from engines.families.capabilities import Canvas
    from engines.manifest import Manifest
    from engines.store import Built

Name = Annotated[str, typer.Argument(help="What requests call it: a-z 0-9 . _ -", show_default=False)]


def add(
    name: Name,
    source: Annotated[
        str | None,
        typer.Option(
            "--from",
            help="Folder of a checkpoint in diffusers' form, or s3://host:port/bucket/prefix.",
            show_default=False,
        ),
    ] = None,
    lora: Annotated[
        list[str] | None,
        typer.Option(
            help="FILE[=SCALE]: an adapter to merge into the model before the + of the name; may be given again.",
            show_default=False,
        ),
    ] = None,
    canvas: Annotated[
        list[str] | None,
        typer.Option(
            help="A frame size that it serves, like 16:9=832x480; the first is the default. May be given again.",
            show_default="those that it was trained with",
        ),
    ] = None,
    seconds: Annotated[int, typer.Option(min=0, help="Of a segment.", show_default="as it was trained")] = 0,
    precision: PrecisionName = "",
    store: StoreUrl = None,
    output: Output = "text",
) -> None:
    """Add a model: read a checkpoint, build its engines into the store, and register it there.

    Nothing of the checkpoint is run, and pickles are refused. --precision is of the engines, as in `longtake engines
    build`. Serving it takes the store alone, and pip install
    'longtake[wan]'; adding it takes 'longtake[build]' too. Smaller canvases
    and fewer seconds take less memory and time.

    With --lora, adapters (safetensors) are merged into the weights of a model that was added before, and the result is
    a model of its own, called `base+name`. A checkpoint that has moved is found again by adding it once more.

    Examples: longtake models add wan-1.3b --from Wan2.1-T2V-1.3B-Diffusers --canvas 16:9=832x480; longtake models add
    wan-1.3b+style --lora style.safetensors=0.8
    """
    from engines.families.buildable import Sizes
    from engines.objects import USUAL
    from serving.cli.engine_build import ends_at_once

    quiet = output == "json"
    with clear_errors(), ends_at_once():
        sizes = Sizes(tuple(_canvas(text) for text in canvas or ()), seconds)
        if lora:
            if source or sizes != Sizes():
                raise ValueError("--lora goes with no --from, --canvas or --seconds: those are the base's")
            added, manifest = asyncio.run(add_adapted(name, lora, store, precision=precision, quiet=quiet))
        elif source is None or "+" in name:
            raise ValueError("a model is added --from its checkpoint, or, called like wan-1.3b+style, with --lora")
        else:
            added, manifest = asyncio.run(_add(name, source, sizes, store, precision=precision, quiet=quiet))
    size = sum(entry.bytes_in_all for entry in manifest.engines)
    if quiet:
        value = {"model": name, "weights_digest": added.digest, "digest": manifest.digest, "engine_bytes": size}
        adapters = {"adapters": [adapter.to_json() for adapter in added.adapters]} if added.adapters else {}
        typer.echo(json.dumps({**value, "checkpoint_bytes": sum(file.size for file in added.files), **adapters}))
        return
    typer.echo(f"{name}: {len(manifest.engines)} engines, {size / 1e6:.1f} MB, for {manifest.runtime}")
    for adapter in added.adapters:
        typer.echo(f"  with {adapter}")
    chosen = "" if manifest.variant == USUAL else f" LONGTAKE_ENGINES__VARIANT={manifest.variant}"
    typer.echo(
        f"`longtake models show {name}` tells what it can do; serve it with LONGTAKE_MODEL={name}{chosen} longtake up"
    )


def remove(
    name: Name,
    store: StoreUrl = None,
    force: Annotated[
        bool, typer.Option("--force", help="Also one that the settings name; and none is no error.")
    ] = False,
) -> None:
    """Remove a model that was added, and its engines. What serves it now runs on until it is started again.

    Videos that it made stay, and can be watched; none of them can be extended any more.
    """
    with clear_errors():
        added, engines = asyncio.run(_remove(name, store, force=force))
    left = f"removed the engines of {name}, which was not added" if engines else f"there is no {name}"
    typer.echo(f"removed {name}" if added else left)


async def _add(
    name: str, source: str, sizes: Sizes, store_url: str | None, *, precision: str, quiet: bool
) -> tuple[Added, Manifest]:
    from engines import adding, models
    from engines.threads import in_daemon
    from serving import model_store
    from serving.checkpoint_source import opened_checkpoint
    from serving.cli.engine_build import build_into_store, demand_builder, progress_bar
    from serving.clock import now_ms

    if models.ships(name):
        raise ValueError(f"name: {name!r} is a model of the package: choose another")
    if not source.startswith("s3://"):
        source = str(Path(source).expanduser().absolute())  # engines for another runtime are built from there later
    async with opened_store(store_url, make=True) as store, opened_checkpoint(source) as files:
        there = await model_store.added(store).get(name)
        sizes = _sizes(there, sizes)
        if there is None:
            demand_builder()
        with progress_bar(quiet=quiet) as show:
            told = reading(show)
            added, kept = await in_daemon(
                lambda: adding.record(
                    files, name=name, source=source, sizes=sizes, added_ms=now_ms(), progress=told, known=there
                )
            )
        sources = model_store.Sources(files)
        [(manifest, _)] = await build_into_store(store, added.opened(kept), sources, precision=precision, quiet=quiet)
        await model_store.register(store, added, kept)
        return added, manifest


async def _remove(name: str, store_url: str | None, *, force: bool) -> tuple[bool, bool]:
    """Whether the model was there, and whether engines of it were."""
    from engines import models
    from serving import model_store
    from serving.errors import FailedPrecondition
    from serving.settings import load_settings

    async with opened_store(store_url) as store:
        names = await model_store.added(store).names()
        built = built_in(store)
        if name not in names and not force:
            kept = ""
            if not models.ships(name) and await _has_engines(built, name):
                kept = "; its engines are kept for the next time that it is added, and --force removes them"
            raise ValueError(f"name: {name!r} was not added; there is {', '.join(names) or 'none'}{kept}")
        if name in load_settings().served and not force:
            raise FailedPrecondition(
                f"the settings name {name} as a model that is served: the next start would fail. Change them first, or "
                "--force"
            )
        if standing := await model_store.added(store).standing_on(name):
            raise FailedPrecondition(
                f"{', '.join(standing)} {'stands' if len(standing) == 1 else 'stand'} on {name}: `longtake models rm` "
                "first what has adapters"
            )
        await model_store.added(store).remove(name)
        engines = [await built.remove(model, weights) for model, weights in await built.sets() if model == name]
        return name in names, any(engines)


async def _has_engines(built: Built, name: str) -> bool:
    """Whether there are any, verified or not, that were not removed."""
    for model, weights in await built.sets():
        for verified in (True, False):
            if model == name and await built.manifest_bytes(model, weights, verified=verified) is not None:
                return True
    return False


def _sizes(there: Added | None, asked: Sizes) -> Sizes:
    """Those of the model that has the name, where no others are asked for."""
    if there is None:
        return asked
    if (asked.canvases or there.sizes.canvases, asked.seconds or there.sizes.seconds) != (
        there.sizes.canvases,
        there.sizes.seconds,
    ):
        raise ValueError(
            f"name: {there.name!r} is there in other sizes: choose another name, or `longtake models rm {there.name}`"
        )
    return there.sizes


def _canvas(text: str) -> Canvas:
    from engines.families.capabilities import Canvas

    found = re.fullmatch(r"([1-9]\d?:[1-9]\d?)=([1-9]\d{1,4})x([1-9]\d{1,4})", text)
    if found is None:
        raise ValueError(f"--canvas {text}: an aspect ratio, width and height in pixels, like 16:9=832x480")
    aspect, width, height = found.groups()
    return Canvas(aspect, int(height), int(width))
