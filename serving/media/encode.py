"""From frames to fragmented MP4: one closed group of pictures per segment, one fragment per latent group.

The Renderer pushes frames as they are decoded, and takes fragments as they come out (those of AV1 late, for the encoder
looks ahead). Segments that are encoded apart join without re-encoding: the `ftyp`+`moov` is the same for all of a
track, and every fragment carries its absolute time and sequence number. The codec's packets are put into sample format
by libavformat; the fragments around them are ours, for they must say where in the whole video they lie. Equal frames
give equal bytes: thread counts are fixed.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import cast

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace
from av.video.stream import VideoStream

from engines.families.base import Frames
from serving.media.boxes import Sample, box, boxes, find, fragment
from serving.media.scheduling import unchanged_scheduling
from serving.media.track import TICKS_PER_FRAME, Track
from serving.requests import Codec

_CODECS: dict[Codec, tuple[str, dict[str, str]]] = {
    # Not pred-struct=1 (low delay): its threads come to wait for each other for ever on a busy machine. Not preset 9
    # and faster: they lose motion that is a whole enlargement of the native frames'. lp fixes the thread count.
    Codec.AV1: ("libsvtav1", {"preset": "8", "crf": "24", "svtav1-params": "pred-struct=2:lp=2:scd=0"}),
    Codec.H264: ("libx264", {"preset": "veryfast", "tune": "zerolatency", "crf": "18", "threads": "1", "bf": "0"}),
}
_KEYFRAME_SECONDS = 10
"""Generated segments are shorter; a long ingested one gets a keyframe this often."""
_BT709 = 1
_LIMITED = 1


@dataclass(frozen=True)
class Fragment:
    """`moof`+`mdat` of one latent group."""

    data: bytes
    frames: int
    keyframe: bool


class SegmentEncoder:
    """Encodes one segment of a track.

    `start_frame` and `sequence_start` are the frames and fragments of the video before it. Use:
    `push` groups of frames, collecting what comes out; `finish` once; then `init` is known.
    """

    def __init__(self, track: Track, *, start_frame: int, sequence_start: int) -> None:
        self._track = track
        self._frame = start_frame
        self._sequence = sequence_start
        self._groups: list[int] = []
        self._samples: list[Sample] = []
        self._sink = _Sink()
        self._pushed = 0
        name, options = _CODECS[track.codec]
        self._container = av.open(
            self._sink,
            "w",
            format="mp4",
            options={
                "movflags": "+empty_moov+default_base_moof+frag_every_frame",
                "fflags": "+bitexact",
                "video_track_timescale": str(track.timescale),
            },
        )
        self._stream = cast(VideoStream, self._container.add_stream(name, rate=track.fps, options=options))
        context = self._stream.codec_context
        context.width, context.height, context.pix_fmt = track.width, track.height, "yuv420p"
        context.time_base = Fraction(1, track.fps)
        context.gop_size = _KEYFRAME_SECONDS * track.fps
        context.color_primaries = context.color_trc = context.colorspace = _BT709
        context.color_range = _LIMITED
        with unchanged_scheduling():
            context.open()
        self._context = context

    def push(self, frames: Frames) -> list[Fragment]:
        """Take a latent group, uint8 [n, h, w, 3] at the native size or the track's; fragments that are ready.

        Raises `ValueError` when the track's size is no whole multiple of the frames'.
        """
        scale = self._scale(frames)
        for frame in frames:
            enlarged = frame.repeat(scale, 0).repeat(scale, 1) if scale > 1 else np.ascontiguousarray(frame)
            picture = av.VideoFrame.from_ndarray(enlarged, format="rgb24").reformat(
                format="yuv420p",
                dst_colorspace=Colorspace.ITU709,
                src_color_range=ColorRange.JPEG,
                dst_color_range=ColorRange.MPEG,
            )
            picture.pts, picture.time_base = self._pushed, Fraction(1, self._track.fps)
            self._pushed += 1
            self._mux(self._context.encode(picture))
        self._groups.append(len(frames))
        return list(self._ready())

    def finish(self) -> list[Fragment]:
        """Flush the encoder; the fragments that were left."""
        self._mux(self._context.encode(None))
        self._container.close()
        self._collect()
        rest = list(self._ready())
        if self._groups or self._samples:
            raise RuntimeError(f"the encoder returned {self._pushed} frames incompletely")
        return rest

    @property
    def init(self) -> bytes:
        """The track's `ftyp`+`moov`; the same bytes for every segment. Known after `finish`."""
        return self._sink.init

    def _scale(self, frames: Frames) -> int:
        _, height, width, _ = frames.shape
        scale = int(self._track.height // height)
        if (height * scale, width * scale) != (self._track.height, self._track.width):
            raise ValueError(
                f"frames of {width}x{height} do not enlarge to the track's {self._track.width}x{self._track.height}"
            )
        return scale

    def _mux(self, packets: Sequence[av.Packet[VideoStream]]) -> None:
        for packet in packets:
            packet.stream = self._stream
            packet.duration = 1
            self._container.mux(packet)
        self._collect()

    def _collect(self) -> None:
        self._samples.extend(self._sink.take())

    def _ready(self) -> Iterator[Fragment]:
        while self._groups and len(self._samples) >= self._groups[0]:
            count = self._groups.pop(0)
            samples, self._samples = self._samples[:count], self._samples[count:]
            self._sequence += 1
            data = fragment(
                samples,
                sequence=self._sequence,
                decode_time=self._frame * TICKS_PER_FRAME,
                duration=TICKS_PER_FRAME,
            )
            self._frame += count
            yield Fragment(data, count, samples[0].keyframe)


class _Sink(io.RawIOBase):
    """Takes libavformat's output apart into the track's head and single samples."""

    def __init__(self) -> None:
        super().__init__()
        self._pending = bytearray()
        self._first = True
        self.init = b""

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]
        self._pending += data
        return len(data)

    def take(self) -> list[Sample]:
        """Samples that are complete, in order."""
        samples = []
        while len(self._pending) >= 8:
            size = int.from_bytes(self._pending[:4], "big")
            if len(self._pending) < size:
                break
            (whole,) = boxes(bytes(self._pending[:size]))
            del self._pending[:size]
            if whole.type in (b"ftyp", b"moov"):
                self.init += box(whole.type, whole.payload)
            elif whole.type == b"moof":
                self._keyframe = _is_sync(whole.payload)
            elif whole.type == b"mdat":
                samples.append(Sample(whole.payload, self._keyframe))
        return samples


def _is_sync(moof: bytes) -> bool:
    """Whether the only sample of this `moof` is a keyframe: libavformat says so by flags in `trun` or `tfhd`."""
    trun = find(moof, b"traf", b"trun")
    if trun is None:
        raise ValueError("a fragment without samples")
    flags = int.from_bytes(trun.payload[:4], "big") & 0xFFFFFF
    at = 8 + (4 if flags & 0x1 else 0)
    if flags & 0x4:  # first-sample-flags
        return not int.from_bytes(trun.payload[at : at + 4], "big") & 0x0001_0000
    tfhd = find(moof, b"traf", b"tfhd")
    if tfhd is None:
        raise ValueError("a fragment without a track")
    return not int.from_bytes(tfhd.payload[-4:], "big") & 0x0001_0000
