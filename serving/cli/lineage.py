"""`longtake lineage`: the segments of a video, and what each was shown, in words or as a page."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from serving.cli.output import (
    NOT_FOUND,
    SERVER,
    ApiKey,
    Output,
    Server,
    Tls,
    as_dict,
    connected,
    fail,
    one_line,
    print_json,
)

if TYPE_CHECKING:
    from serving.cli.lineage_page import Drawn
    from serving.client import Client
    from serving.gen.longtake.v1.videos_pb2 import Lineage

DRAWN = 200
"""Segments of a page, at most: the newest."""
_PICTURE_SIDE = 256


def lineage(
    video: Annotated[str, typer.Argument(help="A video's id, as `longtake ls` shows it.")],
    segment: Annotated[
        int | None, typer.Option(min=0, help="Tell of this one alone, by its number, and what it was shown.")
    ] = None,
    html: Annotated[
        Path | None, typer.Option("--html", help="Also draw them into this HTML file, with all that each was shown.")
    ] = None,
    server: Server = SERVER,
    api_key: ApiKey = None,
    tls: Tls = False,
    output: Output = "text",
) -> None:
    """Show the segments from the root to a video's end. Any of them can be extended: `longtake extend --segment`.

    Example: longtake lineage vid_4x... --html lineage.html
    """
    from serving.cli.save import make_ready

    if html is not None:
        make_ready(str(html))
    with connected(server, api_key, tls=tls) as client:
        if html is not None:
            _draw(client, video, html)
        if segment is None:
            _tell_all(client.lineage(video), output)
        else:
            _tell(client, video, segment, output)


def _tell_all(whole: Lineage, output: Output) -> None:
    from serving.cli.lineage_words import line_of

    if output == "json":
        print_json(as_dict(whole))
        return
    if not whole.segments:
        typer.echo("no segments: an image has none, and a video those that are finished")
    for segment in whole.segments:
        typer.echo(one_line(line_of(segment)))


def _tell(client: Client, video: str, number: int, output: Output) -> None:
    from serving.cli.lineage_words import lines_of

    found = next(client.segments(video, skip=number), None)
    if found is None or found.index != number:
        fail(f"{video} has no segment {number}: `longtake lineage {video}` lists those that it has", NOT_FOUND)
    if output == "json":
        print_json(as_dict(found))
    else:
        typer.echo("\n".join(lines_of(found, client.get(video).fps)))


def _draw(client: Client, video: str, to: Path) -> None:
    from serving.cli.lineage_page import page

    to.write_text(page(drawn(client, video)), encoding="utf-8")
    typer.echo(f"drawn in {to}", err=True)


def drawn(client: Client, video: str) -> Drawn:
    """The newest segments with what each was shown, and the frames that show it, if the video can be had."""
    from serving.cli.lineage_page import Drawn, frames_in
    from serving.media.still import stills_of

    found = client.get(video)
    path = client.lineage(video).segments
    segments = list(client.segments(video, skip=max(0, len(path) - DRAWN), limit=DRAWN))
    if found.image_urls or not found.url:
        return Drawn(found, path, segments, {})
    with tempfile.TemporaryDirectory() as folder:
        film = Path(folder) / "film.mp4"
        client.download(video, film)
        frames = stills_of(film, frames_in(segments), fps=found.fps, longest_side=_PICTURE_SIDE)
        return Drawn(found, path, segments, dict(frames))
