"""A client of a running Longtake for tests: gRPC and HTTP as any client speaks them, nothing of ours between."""

from __future__ import annotations

import os
import re
import signal
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import grpc
import numpy as np
from numpy.typing import NDArray

from engines.families.sprite import world
from serving.gen.longtake.v1 import (
    files_pb2,
    files_pb2_grpc,
    jobs_pb2_grpc,
    models_pb2_grpc,
    videos_pb2,
    videos_pb2_grpc,
)
from serving.local.process_tree import descendants
from serving.media.still import png

Frames = NDArray[np.uint8]
Video = videos_pb2.Video
PROMPT = "a red square at the top left moves right under a white sky"


class House:
    """One running Longtake."""

    def __init__(self, address: str, *, store: str, metrics: str, pid: int, log: Path = Path(os.devnull)) -> None:
        self.address = address
        self.log = log
        self.store = store
        self.metrics_url = f"http://{metrics}/metrics"
        self.pid = pid
        channel = grpc.insecure_channel(address)
        self.videos = videos_pb2_grpc.VideosStub(channel)
        self.files = files_pb2_grpc.FilesStub(channel)
        self.models = models_pb2_grpc.ModelsStub(channel)
        self.jobs = jobs_pb2_grpc.JobsStub(channel)

    def create(self, prompt: str = PROMPT, **fields: Any) -> Video:
        """Start a video."""
        return self.videos.CreateVideo(videos_pb2.CreateVideoRequest(prompt=prompt, **fields))

    def extend(self, parent: Video, segment: str = "", **fields: Any) -> Video:
        """Start an extension of one second."""
        source = videos_pb2.Extension(video_id=parent.id, segment=segment)
        return self.create(extends=source, **{"seconds": 1, **fields})

    def watch(self, video: Video, cursor: str = "", previews: bool = False) -> Iterator[videos_pb2.WatchVideoResponse]:
        """Its events."""
        request = videos_pb2.WatchVideoRequest(id=video.id, cursor=cursor, previews=previews)
        return self.videos.WatchVideo(request, timeout=120)

    def ended(self, video: Video) -> Video:
        """The video in its last state."""
        last = video
        for event in self.watch(video):
            if event.WhichOneof("event") == "video":
                last = event.video
        return last

    def made(self, video: Video) -> Video:
        """The finished video; fails with its error otherwise."""
        last = self.ended(video)
        assert last.state == Video.SUCCEEDED, f"{Video.State.Name(last.state)}: {last.error.code} {last.error.message}"
        return last

    def get(self, video: Video) -> Video:
        """A poll."""
        return self.videos.GetVideo(videos_pb2.GetVideoRequest(id=video.id))

    def upload(self, data: bytes, name: str) -> str:
        """A file's id."""
        metadata = files_pb2.UploadFileRequest.Metadata(filename=name)
        parts = [
            files_pb2.UploadFileRequest(metadata=metadata),
            *(files_pb2.UploadFileRequest(data=data[at : at + 65536]) for at in range(0, len(data), 65536)),
        ]
        return str(self.files.UploadFile(iter(parts)).id)

    def kill(self, deployment: str, model: str = "") -> None:
        """SIGKILL to the replicas of a deployment; of all models', where none is named."""
        for pid in self.pids(deployment, model):
            os.kill(pid, signal.SIGKILL)

    def roll_out(self) -> None:
        """Have every replica replaced, as a new deployment does."""
        (host,) = [pid for pid in descendants(self.pid) if "serving.deployments.host" in _command(pid)]
        os.kill(host, signal.SIGHUP)

    def pids(self, deployment: str, model: str = "") -> list[int]:
        """Its replicas' processes; of all models', where none is named."""
        application = re.escape(f"longtake-{model}") if model else "longtake[^:]*"
        name = re.compile(f"ray::ServeReplica:{application}:{deployment}")
        return [pid for pid in descendants(self.pid) if name.match(_command(pid))]


def fetch(url: str) -> bytes:
    """What a URL returns."""
    with urllib.request.urlopen(url, timeout=30) as answer:
        data: bytes = answer.read()
    return data


def media_of(data: bytes) -> bytes:
    """Of an MP4 everything from the first fragment on: the header's mark names the video."""
    return data[data.index(b"moof") - 4 :]


def frames_of(data: bytes, tmp_path: Path, fps: int = world.FPS) -> Frames:
    """All frames of an MP4, and a check that its times are right."""
    path = tmp_path / "video.mp4"
    path.write_bytes(data)
    frames, times = [], []
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            frames.append(frame.to_ndarray(format="rgb24"))
            times.append(float(frame.time or 0.0))
    np.testing.assert_allclose(times, np.arange(len(times)) / fps, atol=1e-3)
    return np.stack(frames)


def scene(draw: Callable[[Frames], None], height: int = 64, width: int = 112) -> bytes:
    """A drawn picture as PNG."""
    frame = np.full((height, width, 3), 255, np.uint8)
    draw(frame)
    return png(frame, scale=4)


def red_square(frame: Frames) -> None:
    """Where a sprite could be."""
    frame[16:48, 32:64] = (230, 20, 20)


def foreign_mp4(path: Path, seconds: float = 3.0, fps: int = 24, *, width: int = 640) -> bytes:
    """An H.264 file such as a phone writes, not made by us; 360 pixels high."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps)
        stream.width, stream.height, stream.pix_fmt = width, 360, "yuv420p"
        for number in range(round(seconds * fps)):
            picture = np.full((360, width, 3), 255, np.uint8)
            left = 40 + 6 * number
            picture[120:240, left : left + 120] = (20, 20, 230)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    return path.read_bytes()


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ").strip()
    except OSError:  # it ended
        return ""
