"""`longtake engines verify`: whether engines compute what their model does. Those that do not are never served.

Engines for a GPU may be compiled where none is. Whoever runs this on a machine with the GPU answers for them: they are
published from then on, under a key of his, with the report of the comparison beside them; `longtake engines report`
shows it wherever the store is.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

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
    from engines.building.verify import Compared
    from engines.manifest import Manifest
    from engines.models import Model
    from engines.session import Session
    from engines.store import Found


Page = Annotated[Path | None, typer.Option("--html", help="Also write it as a page with pictures into this file.")]


def verify(
    model: ModelName = "sprite",
    store: StoreUrl = None,
    variant: Variant = None,
    html: Page = None,
    output: Output = "text",
) -> None:
    """Check that the engines compute what the model does.

    On random inputs, by component, for one row and many, and end to end. With torch installed they are compared with
    the model's own modules, else with the answers that these gave when the engines were built. Engines that were
    compiled on a machine without their GPU are published when they pass, with the report beside them. Where the setting
    `engines.triton` names a server, it is asked what it computes.

    Examples: longtake engines verify --variant tensorrt_rtx-sm89; longtake engines verify --html compared.html
    """
    from serving.cli.save import make_ready

    if html is not None:
        make_ready(str(html))  # before anything is compared
    with clear_errors():
        told, page, where = asyncio.run(_verify(model, store, variant))
        if html is not None:
            html.write_bytes(page)
    _tell(told, where, output)
    if told["problems"]:
        raise typer.Exit(1)
    if told["published"]:
        typer.echo("Published: stages load them from now on, where the setting `engines.variant` names them.", err=True)


def report(
    model: ModelName = "sprite",
    store: StoreUrl = None,
    variant: Variant = None,
    html: Page = None,
    output: Output = "text",
) -> None:
    """Show the report that lies beside the engines in a store: what was compared when they were published.

    Example: longtake engines report --variant tensorrt_rtx-sm89-bf16 --html compared.html
    """
    from serving.cli.save import make_ready

    if html is not None:
        make_ready(str(html))
    with clear_errors():
        told, page, where = asyncio.run(_stored(model, store, variant))
        if html is not None:
            html.write_bytes(page)
    _tell(told, where, output)


def _tell(told: dict[str, Any], where: str | None, output: str) -> None:
    from engines.building.report import lines

    if output == "json":
        typer.echo(json.dumps({**told, "ok": not told["problems"], "report": where}))
    else:
        typer.echo("\n".join(lines(told)))
        typer.echo(f"Against {told['against']}: {'NOT fine' if told['problems'] else 'fine'}")
        if where is not None:
            typer.echo(f"The report lies in the store as {where}")
    for problem in told["problems"]:
        typer.echo(f"error: {problem}", err=True)


async def _verify(name: str, store_url: str | None, variant: str | None) -> tuple[dict[str, Any], bytes, str | None]:
    """The report, its page, and where the one lies that was published with the engines. `published`: just now."""
    from engines.blobs import PAGE, named
    from engines.building import report as reports
    from engines.building.verify import certified
    from engines.session import open_found
    from serving.settings import load_settings

    async with opened(name, store_url, variant, unverified=True) as (model, found):
        server = load_settings().engines.triton if found.manifest.verified else ""  # no server is given the others
        with await open_found(model.family, found, unverified=True, server=server) as session:
            compared, against = await _compare(model, found, session)
        against += f", computed by the Triton server at {server}" if server else ""
        papers, manifest = reports.papers(found.manifest, compared, against), found.manifest
        told = {**reports.as_json(manifest, compared, against), "published": False}
        if manifest.verified or told["problems"]:
            return told, papers[PAGE], _where(manifest)
        engines = {entry.component: await found.read(entry) for entry in manifest.engines}
    manifest = replace(certified(manifest, compared.parity), papers={**manifest.papers, **named(papers)})
    async with opened_store(store_url) as store:
        await built_in(store, key=own_key()).publish(manifest, engines, papers)
    return {**told, "published": True}, papers[PAGE], _where(manifest)


async def _stored(name: str, store_url: str | None, variant: str | None) -> tuple[dict[str, Any], bytes, str | None]:
    """The report that was published, its page, and where it lies."""
    from engines.blobs import PAGE, REPORT
    from engines.errors import EngineNotBuilt

    async with opened(name, store_url, variant) as (_, found):
        data, page = await found.paper(REPORT), await found.paper(PAGE)
        if data is None or page is None:
            raise EngineNotBuilt(
                f"no report lies beside the engines of {found.manifest.model} for {found.manifest.variant}: "
                "`longtake engines verify` compares them anew"
            )
        return json.loads(data), page, _where(found.manifest)


def _where(manifest: Manifest) -> str | None:
    from engines.blobs import PAGE
    from engines.objects import blob_key

    return blob_key(manifest.papers[PAGE].sha256) if PAGE in manifest.papers else None


async def _compare(model: Model, found: Found, session: Session) -> tuple[Compared, str]:
    from engines.blobs import ANSWERS
    from engines.building import build as builder
    from engines.building import verify

    manifest, shipped = found.manifest, model.weights_digest()
    if builder.missing_packages() or shipped is None or model.recorded is not None:
        answers = await found.paper(ANSWERS)
        if answers is None:
            told = "a few values of torch's answers, which the manifest keeps"
            return verify.check_probes(model.family, session, manifest), told
        compared = verify.compare(model.family, session, verify.unpacked(answers), manifest)
        return compared, "the answers of torch that lie beside the engines"
    components = {entry.component: entry.spec.component for entry in manifest.engines}
    modules = builder.graphs_of(model, model.weights)
    with builder.reference_session(model, modules, components, shipped) as reference:
        return verify.compare(model.family, session, verify.record(model.family, reference), manifest), "torch"
