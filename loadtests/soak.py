"""`python -m loadtests.soak`: keep a Longtake busy with short videos for minutes, and see what its processes weigh.

It starts one of its own over an empty directory store. Clients create, wait and create again; every few seconds the
resident memory of each kind of process is read. What holds something of every video shows in the last column: MB per
1,000 videos, over the second half. `loadtests/SOAK.md` is what was measured.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import linear_regression, median

from loadtests.abuse.watching import resident_mb
from loadtests.kills.victims import pids
from loadtests.table import Row, markdown
from serving.client import ENDED, AsyncClient, create_request
from serving.gen.longtake.v1 import videos_pb2
from serving.local.embedded import Embedded
from serving.settings import Grpc, Http, Settings

KINDS = ("front door", "director", "denoiser", "renderer", "conditioner", "text encoder")
LOOK_S = 5.0
POLL_S = 0.2


@dataclass(frozen=True)
class Look:
    """The processes at one moment."""

    videos: int
    """Finished until then."""
    mb: dict[str, float]
    """Resident memory of the largest process of each kind."""


@dataclass
class Soak:
    """One run, as it goes."""

    address: str
    root: int
    """The process below which all others are."""
    resolution: str
    finished: int = 0
    failed: int = 0
    looks: list[Look] = field(default_factory=list)

    async def run(self, seconds: float, clients: int) -> None:
        """Videos for so long."""
        ends = time.monotonic() + seconds
        watching = asyncio.create_task(self._watch(seconds))
        await asyncio.gather(*(self._live(ends) for _ in range(clients)))
        watching.cancel()
        self._look()

    async def _live(self, ends: float) -> None:
        async with AsyncClient(self.address) as client:
            while time.monotonic() < ends:
                wanted = create_request(
                    "a red square moves right under a white sky",
                    seconds=1,
                    aspect_ratio="1:1",
                    resolution=self.resolution,
                    steps=1,
                )
                video = await client.create(wanted)
                while video.state not in ENDED:
                    await asyncio.sleep(POLL_S)
                    video = await client.get(video.id)
                self.finished += video.state == videos_pb2.Video.SUCCEEDED
                self.failed += video.state != videos_pb2.Video.SUCCEEDED

    async def _watch(self, seconds: float) -> None:
        began = time.monotonic()
        while True:
            self._look()
            passed = time.monotonic() - began
            print(f"\r{passed:5.0f} of {seconds:.0f} s, {self.finished} videos", end="", file=sys.stderr, flush=True)
            await asyncio.sleep(LOOK_S)

    def _look(self) -> None:
        largest = {kind: max(map(resident_mb, found)) for kind in KINDS if (found := pids(self.root, kind))}
        self.looks.append(Look(self.finished, largest))


def rows(soak: Soak, seconds: float) -> list[Row]:
    """A line for each kind of process."""
    half = len(soak.looks) // 2
    table = [Row("soak", "videos", f"{soak.finished}", f"{soak.finished / seconds:.1f} a second", aim="none fails")]
    table += [Row("soak", "videos that failed", f"{soak.failed}", aim="0")]
    for kind in KINDS:
        seen = [(look.videos, look.mb[kind]) for look in soak.looks if kind in look.mb]
        late = [mb for _, mb in seen[half:]]
        slope = linear_regression(*zip(*seen[half:], strict=True)).slope * 1000
        growth = f"{slope:+.1f} MB per 1,000 videos"
        table.append(Row("soak", f"{kind}, MB", f"{median(late):.0f}", f"at first {seen[0][1]:.0f}", growth))
    return table


def main(arguments: Sequence[str]) -> int:
    """Run, and print the table; 1 when a video failed."""
    parser = argparse.ArgumentParser(
        prog="python -m loadtests.soak", description="Keep a Longtake busy, and see what its processes weigh."
    )
    parser.add_argument("--seconds", type=float, default=540.0, help="how long (default 540)")
    parser.add_argument("--clients", type=int, default=16, help="videos at once (default 16)")
    parser.add_argument("--resolution", default="480p", choices=["480p", "720p", "1080p"], help="default 480p")
    asked = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(store=f"{folder}/store", grpc=Grpc(address="127.0.0.1:0"), http=Http(address="127.0.0.1:0"))
        with Embedded(settings, logs=Path(folder) / "logs") as embedded:
            soak = Soak(embedded.ready.grpc, embedded.pid, asked.resolution)
            asyncio.run(soak.run(asked.seconds, asked.clients))
    print(file=sys.stderr)
    print(markdown(rows(soak, asked.seconds)))
    return int(soak.failed > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
