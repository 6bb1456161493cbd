"""`longtake engines verify`: whether engines compute what their model does. Those that do not are never served.

Engines for a GPU may be compiled where none is. Whoever runs this on a machine with the GPU answers for them: they are
published from then on, under a key of his.
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import typer

from serving.cli.engine_access import (
    ModelName,
    StoreUrl,
    Variant,
    built_in,
    clear_errors,
    opened,
    own_key,
)
from serving.cli.output import Output
from serving.cli.stores import opened_store

if TYPE_CHECKING:
    from engines.building.verify import Parity
    from engines.models import Model
    from engines.session import Session
    from engines.store import Found


def verify(
    model: ModelName = "sprite", store: StoreUrl = None, variant: Variant = None, output: Output = "text"
) -> None:
    """Check that the engines compute what the model does.

    On random inputs, by component and end to end. With torch installed they are compared with the model's own modules,
    else with the answers that these gave when the engines were built. Engines that were compiled on a machine without
    their GPU are published when they pass.

    Example: longtake engines verify --variant tensorrt_rtx-sm89
    """
    with clear_errors():
        parity, against, published = asyncio.run(_verify(model, store, variant))
    problems = parity.problems()
    if output == "json":
        value = {"components": dict(parity.components), "run": parity.run, "frames": parity.frames}
        typer.echo(json.dumps({**value, "against": against, "ok": not problems, "published": published}))
    else:
        for name, difference in parity.components.items():
            typer.echo(f"{name:<20} {difference:.1e}")
        typer.echo(f"{'whole runs':<20} {parity.run:.1e}   pixels: {parity.frames:g} levels of 255")
        typer.echo(f"Largest differences, relative, against {against}: " + ("fine" if not problems else "NOT fine"))
    for problem in problems:
        typer.echo(f"error: {problem}", err=True)
    if problems:
        raise typer.Exit(1)
    if published:
        typer.echo("Published: stages load them from now on, where the setting `engines.variant` names them.", err=True)


async def _verify(name: str, store_url: str | None, variant: str | None) -> tuple[Parity, str, bool]:
    """Largest differences, from what, and whether the engines were published for the first time."""
    from engines.building.verify import certified
    from engines.session import open_found

    async with opened(name, store_url, variant, unverified=True) as (model, found):
        with await open_found(model.family, found, unverified=True) as session:
            parity, against = _compare(model, found, session)
        if found.manifest.verified or parity.problems():
            return parity, against, False
        engines = {entry.component: await found.read(entry) for entry in found.manifest.engines}
    async with opened_store(store_url) as store:
        await built_in(store, key=own_key()).publish(certified(found.manifest, parity), engines)
    return parity, against, True


def _compare(model: Model, found: Found, session: Session) -> tuple[Parity, str]:
    from engines.building import build as builder
    from engines.building import verify

    shipped = model.weights_digest()
    if builder.missing_packages() or shipped is None or model.recorded is not None:
        parity = verify.check_probes(model.family, session, found.manifest)
        return parity, "the answers of torch that the manifest keeps"
    components = {entry.component: entry.spec.component for entry in found.manifest.engines}
    modules = builder.graphs_of(model, model.weights)
    with builder.reference_session(model, modules, components, shipped) as reference:
        return verify.compare(model.family, session, verify.record(model.family, reference)), "torch"
