"""`longtake models step-cache`: a model's videos in fewer computed steps, once it is measured what that costs.

What is chosen stands in the model's record, and from there in the plan of every job that a front door takes then: jobs
that are there already, and videos that are made again, keep what they were planned with.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from serving.cli.engine_access import StoreUrl, Variant, clear_errors, opened, steps_of
from serving.cli.engine_build import progress_bar
from serving.cli.output import Output
from serving.cli.stores import opened_store

if TYPE_CHECKING:
    from engines.building.step_cost import Cost


def step_cache(
    name: Annotated[str, typer.Argument(help="A model that was added.", show_default=False)],
    threshold: Annotated[
        float, typer.Argument(min=0, help="How far reused predictions may be off in sum, like 0.05; 0: none is reused.")
    ],
    prompt: Annotated[
        list[str] | None,
        typer.Option(help="Measure on a video of this; may be given again.", show_default="the model's own"),
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Denoising steps.", show_default="the model's")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Draws the noise.")] = 1,
    measure: Annotated[bool, typer.Option("--measure", help="Measure, and set nothing.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Set it also where the videos differ by more.")] = False,
    store: StoreUrl = None,
    variant: Variant = None,
    output: Output = "text",
) -> None:
    """Make a model's videos in fewer computed steps, and say by how much they differ from those of all steps.

    Where the model's prediction changes little from step to step, the last one is carried on instead (EasyCache). A
    video is made with and without that, from one seed, on the model's first canvas and its engines; where they are
    further apart than 25 dB, nothing is set. 0 sets it back, and measures nothing. Front doors plan with what is set
    from their next start on.

    Examples: longtake models step-cache wan-1.3b 0.05 --prompt "a cat runs" --prompt "waves at night"; longtake models
    step-cache wan-1.3b 0
    """
    with clear_errors():
        costs = asyncio.run(_measured(name, threshold, prompt, steps, seed, (store, variant), quiet=output == "json"))
        problems = [cost.problem for cost in costs if cost.problem]
        setting = not measure and (force or not problems)
        if setting:
            asyncio.run(_set(name, threshold, store))
    if output == "json":
        told = [{**asdict(cost), "levels": cost.levels._asdict()} for cost in costs]
        typer.echo(json.dumps({"model": name, "step_cache": threshold, "measured": told, "set": setting}))
    else:
        for cost in costs:
            typer.echo(_line(cost))
    for problem in problems:
        typer.echo(f"error: {problem}", err=True)
    if setting:
        typer.echo(
            f"{name}: step cache {threshold:g}, in videos that front doors take after their next start", err=True
        )
    elif problems:
        typer.echo(f"error: {name} is left as it was: take a lower threshold, or --force", err=True)
        raise typer.Exit(1)


def _line(cost: Cost) -> str:
    whole, saved = cost.seconds
    return (
        f"{cost.prompt}: {cost.reused} of {cost.steps} steps reused; {whole:.1f} s of denoising became {saved:.1f} s; "
        f"{cost.decibels:.1f} dB, {cost.levels.mean:.2f} levels of 255 in the mean, {cost.levels.largest:.0f} at most"
    )


async def _measured(
    name: str,
    threshold: float,
    prompts: list[str] | None,
    steps: int | None,
    seed: int,
    place: tuple[str | None, str | None],
    *,
    quiet: bool,
) -> list[Cost]:
    """What it costs, by prompt; nothing for a threshold of 0. Raises `ValueError` for a model that has none."""
    from engines import models
    from engines.building.step_cost import measure
    from engines.families.step_cache import BOUNDS
    from engines.session import open_found

    if models.ships(name):
        raise ValueError(f"name: {name!r} computes every step; models that were added can reuse some")
    if threshold >= BOUNDS[1]:
        raise ValueError(f"threshold: {threshold:g}; below {BOUNDS[1]:g}, and 0.05 is usual")
    if not threshold:
        return []
    async with opened(name, *place) as (model, found):
        family = model.family
        if family.capabilities.step_cache is None:
            raise ValueError(f"name: {name!r} computes every step: its sampler reuses none")
        count = steps_of(steps, family.capabilities.steps)
        loaded = await open_found(family, found)
    with loaded as session, progress_bar(quiet=quiet) as show:
        asked: dict[str, Any] = {"threshold": threshold, "steps": count, "seed": seed, "tell": show}
        return [measure(family, session, prompt, **asked) for prompt in prompts or [family.probe_prompt]]


async def _set(name: str, threshold: float, store_url: str | None) -> None:
    from serving import model_store

    async with opened_store(store_url) as store:
        if not await model_store.added(store).cache_steps(name, threshold):
            there = ", ".join(await model_store.added(store).names())
            raise ValueError(f"name: {name!r} was not added; there is {there or 'none'}")
