"""What a user waits for, through everything: Longtake as `longtake up` starts it, Ray included, warm.

From a client's create to the first denoising step that it hears of, and to the end of two seconds of video.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from engines.session import load_session
from loadtests.benchmarks.dit_flops import conditions_of, step_seconds
from loadtests.scale import Scale
from loadtests.studio import MODEL, JobFailed
from loadtests.table import Row, spread
from serving.client import Client, create_request
from serving.gen.longtake.v1.videos_pb2 import Video
from serving.local.embedded import Embedded
from serving.settings import load_settings

NAME = "overhead"
_COLOURS = ("red", "green", "blue", "yellow", "purple", "cyan")
_WARM_UP = 2
_LONGER = 10


@dataclass(frozen=True)
class _Timed:
    accepted_ms: float
    """Until the create was answered."""
    first_step_ms: float
    """Until a watching client heard of the first step done, that step included."""
    ended_s: float


def run(scale: Scale) -> list[Row]:
    """Some videos, one after the other, each with a prompt of its own."""
    with tempfile.TemporaryDirectory() as folder:
        settings = load_settings(
            store=str(Path(folder) / "store"), grpc={"address": "127.0.0.1:0"}, http={"address": "127.0.0.1:0"}
        )
        with Embedded(settings, logs=Path(folder) / "logs") as embedded, Client(embedded.ready.grpc) as client:
            made = [_time(client, number, seconds=2) for number in range(_WARM_UP + 2 * scale.videos)][_WARM_UP:]
            longer = [_time(client, number, seconds=_LONGER) for number in range(scale.videos)]
    step_ms = _step_ms(scale)
    less = spread([m.first_step_ms - step_ms for m in made])
    return [
        Row(NAME, "create, until it is durable and answered: ms", spread([m.accepted_ms for m in made])),
        Row(
            NAME,
            "create, until the client hears of the first denoising step: ms",
            spread([m.first_step_ms for m in made]),
        ),
        Row(NAME, "the same, less the step itself: ms", less, f"step {step_ms:.1f}"),
        Row(NAME, "two seconds of 16:9 from text, warm: s", spread([m.ended_s for m in made], 2), aim="< 3 s"),
        Row(
            NAME,
            f"{_LONGER} seconds of 16:9 from text, warm: s per second of video",
            spread([m.ended_s / _LONGER for m in longer], 3),
        ),
    ]


def _step_ms(scale: Scale) -> float:
    """A root's step by the engine alone, in this process."""
    with asyncio.run(load_session(MODEL)) as session:
        conditions = conditions_of(session, session.family.capabilities.canvases[0], root=True)
        return 1000 * median(step_seconds(session, conditions) for _ in range(2 * scale.rounds))


def _time(client: Client, number: int, *, seconds: int) -> _Timed:
    colour = _COLOURS[number % len(_COLOURS)]
    request = create_request(f"a {colour} bar moves right", seconds=seconds, aspect_ratio="16:9", seed=number)
    began = time.monotonic()
    video = client.create(request)
    accepted = time.monotonic()
    first_step = 0.0

    def note(changed: Video) -> None:
        nonlocal first_step
        if not first_step and changed.progress.steps_done:
            first_step = time.monotonic()

    video = client.wait(video.id, progress=note)
    if video.state != Video.SUCCEEDED:
        raise JobFailed(f"{video.id}: {video.error.message or 'it was cancelled'}")
    return _Timed((accepted - began) * 1000, (first_step - began) * 1000, time.monotonic() - began)
