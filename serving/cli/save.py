"""Where results are saved, for `generate`, `image`, `extend` and `download`: made ready before anything is made.

--save x.mp4      that file; of several images x-1.png, x-2.png ...
--save there/     <id>.mp4 in that folder, and so where `there` is a folder
(left out)        <id>.mp4 here
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from serving.cli.output import USAGE, fail

if TYPE_CHECKING:
    from serving.client import Client
    from serving.gen.longtake.v1.videos_pb2 import Video


def make_ready(to: str) -> None:
    """Make the folder that results go to. Ends the command where nothing can be written there."""
    folder = Path(to) if _is_folder(to) else Path(to).parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        fail(f"nothing can be saved in {folder}: {error.strerror}", USAGE)


def save(client: Client, video: Video, to: str) -> Iterator[tuple[Path, int]]:
    """Save all that a finished video has: each file, and its bytes. Raises `ClientError`, `OSError`."""
    count = len(video.image_urls) or 1
    for number in range(count):
        path = _target(to, video, number, count)
        yield path, client.download(video.id, path, number=number)


def _target(to: str, video: Video, number: int, count: int) -> Path:
    path = Path(to)
    if _is_folder(to):
        path /= f"{video.id}{'.png' if video.image_urls else '.mp4'}"
    return path.with_stem(f"{path.stem}-{number + 1}") if count > 1 else path


def _is_folder(to: str) -> bool:
    return not to or to.endswith("/") or os.path.isdir(to)  # noqa: PTH112  (Path's own fails for a name too long)
