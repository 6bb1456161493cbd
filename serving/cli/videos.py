"""`longtake watch`, `status`, `ls`, `cancel`, `delete`, `download`: look after what there is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from serving.cli.output import (
    FAILED,
    INTERRUPTED,
    SERVER,
    USAGE,
    ApiKey,
    Output,
    Server,
    Tls,
    as_dict,
    connected,
    describe,
    fail,
    one_line,
    print_json,
    state_of,
    why_of,
)

_WIDTH = 120
"""Of a line of `ls` where there is no terminal."""
VideoId = Annotated[str, typer.Argument(help="A video's id, as `longtake ls` shows it.")]


def status(
    video: VideoId, server: Server = SERVER, api_key: ApiKey = None, tls: Tls = False, output: Output = "text"
) -> None:
    """Show a video as it stands, and why it waits if it does."""
    with connected(server, api_key, tls=tls) as client:
        found = client.get(video)
        why = why_of(client, found)
    if output == "json":
        print_json(as_dict(found) | ({"why": why} if why else {}))
    else:
        typer.echo(describe(found, why))


def watch(
    video: VideoId,
    preview: Annotated[
        Path | None, typer.Option(help="Keep the newest picture of the video in this file, a PNG, while it is made.")
    ] = None,
    server: Server = SERVER,
    api_key: ApiKey = None,
    tls: Tls = False,
    output: Output = "text",
) -> None:
    """Follow a video until it has ended. With `-o json`, one event a line. Ctrl-C stops the watching, not the video.

    Example: longtake watch vid_4x... --preview now.png
    """
    import json

    from serving.cli.progress import events, follow
    from serving.cli.save import make_ready
    from serving.gen.longtake.v1.videos_pb2 import Video

    if preview is not None:
        if preview.is_dir():
            fail(f"--preview: {preview} is a folder; name a file in it, such as {preview / 'now.png'}", USAGE)
        make_ready(str(preview))
    with connected(server, api_key, tls=tls) as client:
        try:
            if output == "json":
                for event in events(client, video, preview):
                    typer.echo(json.dumps(as_dict(event)))
                found = client.get(video)
            else:
                if why := why_of(client, client.get(video)):
                    typer.echo(f"it waits: {why}", err=True)
                found = follow(client, video, preview=preview)
                typer.echo(describe(found))
        except KeyboardInterrupt:
            raise typer.Exit(INTERRUPTED) from None
    if found.state != Video.SUCCEEDED:
        raise typer.Exit(FAILED)


def ls(
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="How many.")] = 20,
    server: Server = SERVER,
    api_key: ApiKey = None,
    tls: Tls = False,
    output: Output = "text",
) -> None:
    """List videos, newest first, each in one line. `longtake status` and `-o json` tell all of one."""
    with connected(server, api_key, tls=tls) as client:
        found = list(client.list(limit=limit))
    if output == "json":
        print_json([as_dict(video) for video in found])
        return
    if not found:
        typer.echo('No videos yet. Make one: longtake generate "a red bar moves right"')
    for video in found:
        created = video.create_time.ToDatetime().strftime("%Y-%m-%d %H:%M:%SZ")
        told = f"{video.id}  {state_of(video):<13} {created}  {video.effective_prompt or video.prompt}"
        typer.echo(one_line(told, otherwise=_WIDTH))


def cancel(
    video: VideoId, server: Server = SERVER, api_key: ApiKey = None, tls: Tls = False, output: Output = "text"
) -> None:
    """Stop a video within one denoising step; what was finished of it stays."""
    from serving.client import ENDED

    with connected(server, api_key, tls=tls) as client:
        found = client.cancel(video)
    said = state_of(found) if found.state in ENDED else "cancelling"
    print_json(as_dict(found)) if output == "json" else typer.echo(f"{found.id}  {said}")


def delete(video: VideoId, server: Server = SERVER, api_key: ApiKey = None, tls: Tls = False) -> None:
    """Delete a video that has ended. Videos that extend it keep their frames."""
    with connected(server, api_key, tls=tls) as client:
        client.delete(video)


def download(
    video: VideoId,
    to: Annotated[str, typer.Argument(help="A file or a folder.", show_default="<id>.mp4 or .png")] = "",
    server: Server = SERVER,
    api_key: ApiKey = None,
    tls: Tls = False,
) -> None:
    """Save a finished video's MP4, or its images."""
    from serving.cli.save import make_ready, save

    with connected(server, api_key, tls=tls) as client:
        found = client.get(video)
        make_ready(to)
        for path, size in save(client, found, to):
            typer.echo(f"{path}  {size} bytes")
