"""`longtake demo`: start Longtake here, have it tell a story, and show that on a page. `make demo` runs it."""

from __future__ import annotations

import shutil
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from serving.cli.output import FAILED, INTERRUPTED

if TYPE_CHECKING:
    from serving.client import Client
    from serving.demo.story import Piece
    from serving.gen.longtake.v1.videos_pb2 import Video


def demo(
    folder: Annotated[Path, typer.Argument(help="Where the results go; an earlier demo's are replaced.")] = Path(
        "demo-output"
    ),
) -> None:
    """Start Longtake on free ports, make a film in three parts and videos of other kinds, read from their pixels
    whether they show what was asked for, and write all of it to a folder with one page to look at.

    Needs no GPU and no torch. Ctrl-C at any moment ends everything that was started.
    """
    from serving.local.embedded import Embedded
    from serving.local.parts import StartFailed
    from serving.settings import load_settings

    began = time.monotonic()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    _empty(folder)
    settings = load_settings(
        store=str(folder.resolve() / "store"), grpc={"address": "127.0.0.1:0"}, http={"address": "127.0.0.1:0"}
    )
    typer.echo("Longtake starts (Ray, five stages, the front door) ...")
    try:
        with Embedded(settings, logs=folder.resolve() / "logs", say=lambda text: typer.echo(f"  {text}")) as embedded:
            typer.echo(f"  ready after {time.monotonic() - began:.0f} s at {embedded.ready.grpc}\n")
            pieces = _make_all(embedded.ready.grpc, folder)
    except KeyboardInterrupt:
        typer.echo("\nstopped; nothing was left running")
        raise typer.Exit(INTERRUPTED) from None
    except StartFailed as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(FAILED) from error
    _tell(pieces, folder, time.monotonic() - began)


def _make_all(server: str, folder: Path) -> list[Piece]:
    from serving.cli import lineage_page
    from serving.cli.lineage import drawn
    from serving.cli.output import connected, fail
    from serving.cli.progress import follow
    from serving.demo import sheets, story
    from serving.demo.page import page

    def watch(client: Client, video: str, label: str) -> Video:
        return follow(client, video, label=f"{label:<28}")

    pieces = []
    with connected(server, None, tls=False) as client:
        try:
            for piece in story.play(client, folder, watch):
                if piece.segments:
                    piece.files[0].with_suffix(".png").write_bytes(sheets.of_film(piece))
                    history = lineage_page.page(drawn(client, piece.video.id))
                    piece.files[0].with_suffix(".html").write_text(history, encoding="utf-8")
                pieces.append(piece)
        except story.DemoFailed as error:
            fail(str(error), FAILED)
    (folder / "story.png").write_bytes(sheets.of_story(pieces))
    (folder / "index.html").write_text(page(pieces), encoding="utf-8")
    return pieces


def _empty(folder: Path) -> None:
    """Make room, but only where an earlier demo was."""
    if folder.exists() and any(folder.iterdir()) and not (folder / "store").is_dir():
        typer.echo(f"error: {folder} is not empty and holds no earlier demo; name another folder", err=True)
        raise typer.Exit(2)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)


def _tell(pieces: list[Piece], folder: Path, seconds: float) -> None:
    from serving.demo.measure import measured

    typer.echo(f"\nDone in {seconds:.0f} s. What was made, and what its pixels show:\n")
    for piece in pieces:
        typer.echo(f"  {piece.files[0]}\n      {measured(piece.reading)}")
    typer.echo(f"\n  the story       {folder / 'story.png'}\n  the page        {(folder / 'index.html').resolve()}")
