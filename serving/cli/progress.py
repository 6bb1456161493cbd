"""Progress of one video on a terminal: steps as they are done, segments as they become durable."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from serving.client import Client
    from serving.gen.longtake.v1.videos_pb2 import Video, WatchVideoResponse


def follow(client: Client, video: str, *, label: str = "", quiet: bool = False, preview: Path | None = None) -> Video:
    """Watch a video until it has ended, with a bar on stderr; the video as it ended. `preview`: as of `events`."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    from serving.client import ENDED

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:.0f}/{task.total:.0f} steps  {task.fields[segments]}  {task.fields[stage]}"),
        TimeElapsedColumn(),
    )
    console = Console(file=sys.stderr)
    with Progress(*columns, console=console, disable=quiet, transient=False) as progress:
        task = progress.add_task(label or video, total=1, segments="", stage="queued")

        def show(changed: Video) -> None:
            now = changed.progress
            progress.update(
                task,
                completed=now.steps_done,
                total=max(now.steps_total, 1),
                segments=f"{now.segments_done}/{now.segments_total} segments",
                stage="" if changed.state in ENDED else now.stage or "queued",
            )

        for event in events(client, video, preview):
            if event.HasField("video"):
                show(event.video)
    return client.get(video)


def events(client: Client, video: str, preview: Path | None) -> Iterator[WatchVideoResponse]:
    """What happens to a video until it has ended; the newest picture of it is kept in the file `preview`, not told."""
    for event in client.watch(video, previews=preview is not None):
        if preview is None or not event.HasField("preview"):
            yield event
            continue
        written = preview.with_name(f".{preview.name}.part")  # a viewer that looks again finds a whole picture
        written.write_bytes(event.preview.png)
        written.replace(preview)
