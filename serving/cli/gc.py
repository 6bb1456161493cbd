"""`longtake gc` and `longtake scrub`: look after the store itself, without a running server."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from serving.cli.output import FAILED, INTERRUPTED, UNREACHABLE, USAGE, Output, fail, print_json
from serving.cli.stores import opened_store

if TYPE_CHECKING:
    from serving.retention.report import Report, Tally
    from serving.retention.scrub import ScrubReport
    from serving.settings import Settings
    from serving.store.base import Store

StoreUrl = Annotated[str | None, typer.Option(help="This store instead of the setting's.", show_default=False)]

T = TypeVar("T")


def gc(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Change nothing, only tell.")] = False,
    store: StoreUrl = None,
    output: Output = "text",
) -> None:
    """Delete what nobody needs any more: videos past their time, and what deleted ones leave behind.

    Safe while Longtake runs. What is younger than `retention.margin_s` is spared. Exit code 1 if a tenant was left
    alone because one of its records cannot be read.
    """
    from serving.clock import now_ms
    from serving.retention.collect import collect_once

    with _line() as say:

        async def run(settings: Settings, opened: Store) -> Report:
            def on_progress(what: str, keys: int) -> None:
                say(f"{what}: {keys} keys")

            return await collect_once(
                opened, settings.retention, now_ms=now_ms, dry_run=dry_run, on_progress=on_progress
            )

        report = _on_the_store(store, run)
    if output == "json":
        print_json(asdict(report))
    else:
        for line in _table(report):
            typer.echo(line)
    if report.damaged:
        raise typer.Exit(FAILED)


def scrub(
    limit: Annotated[
        int | None, typer.Option("--limit", "-n", min=1, help="Read so many, from a random place on; default: all.")
    ] = None,
    store: StoreUrl = None,
    output: Output = "text",
) -> None:
    """Read blobs and manifests again and compare their digests. Exit code 1 if one is damaged or missing."""
    from serving.retention.scrub import Scrub

    with _line() as say:

        async def run(_: Settings, opened: Store) -> ScrubReport:
            def on_progress(so_far: ScrubReport) -> None:
                say(f"checked {so_far.checked} keys, {_size(so_far.bytes)}")

            return await Scrub(opened, limit=limit, on_progress=on_progress).run()

        report = _on_the_store(store, run)
    if output == "json":
        print_json(asdict(report))
    else:
        typer.echo(f"checked {report.checked} keys, {_size(report.bytes)}: {len(report.findings)} damaged or missing")
        for finding in report.findings:
            typer.echo(f"{finding.key}\n  {finding.why}; needed by {', '.join(finding.videos) or 'no living video'}")
        if report.findings:
            typer.echo("Restore these keys from a copy of the store, or delete the videos and make them again.")
    if report.findings:
        raise typer.Exit(FAILED)


def _on_the_store(url: str | None, work: Callable[[Settings, Store], Coroutine[Any, Any, T]]) -> T:
    """Run it on the store of the settings. Failures end the command with one line."""
    from serving.errors import SettingsError, StoreMissing, StoreUnfit, Unavailable
    from serving.settings import load_settings

    async def run(settings: Settings) -> T:
        async with opened_store(url) as store:
            return await work(settings, store)

    try:
        return asyncio.run(run(load_settings(**({"store": url} if url else {}))))
    except (SettingsError, StoreMissing) as error:
        fail(error.message, USAGE)
    except (StoreUnfit, Unavailable) as error:
        fail(error.message, UNREACHABLE)
    except KeyboardInterrupt:
        typer.echo("interrupted: the store is in order, and the next run goes on", err=True)
        raise typer.Exit(INTERRUPTED) from None
    raise AssertionError("fail ends the command")


@contextmanager
def _line() -> Iterator[Callable[[str], None]]:
    """A line on the terminal that tells how far it is; nothing where stderr is no terminal."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console

    with Console(stderr=True).status("starting") as status:
        yield status.update


def _table(report: Report) -> Iterator[str]:
    gone = "would be collected" if report.dry_run else "collected"
    columns = ("", "live", gone, "spared (young)")
    rows = [
        (kind, _tally(counts.live), _tally(counts.collected), _tally(counts.young))
        for kind, counts in report.kinds.items()
    ]
    table = (columns, *rows)
    widths = [max(len(row[column]) for row in table) for column in range(len(columns))]
    for kind, *cells in table:
        numbers = (cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True))
        yield "  ".join((kind.ljust(widths[0]), *numbers))
    past = "are past their time" if report.dry_run else "were past their time and are deleted now"
    yield f"{report.expired_videos} videos and {report.expired_files} files {past}"
    if report.strays:
        yield f"left alone, for Longtake did not make them: {', '.join(report.strays)}"
    for damage in report.damaged:
        yield (
            f"tenant {damage.tenant} was left alone: {damage.key}: {damage.why}; "
            "restore it from a copy of the store, or delete the video"
        )
    if report.damaged_besides:
        yield f"and {report.damaged_besides} more keys of these tenants"


def _tally(tally: Tally) -> str:
    return f"{tally.keys} ({_size(tally.bytes)})" if tally.keys else "-"


def _size(count: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"
