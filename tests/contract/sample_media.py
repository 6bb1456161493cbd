"""What users hand in: a picture, and a video that was made elsewhere."""

from __future__ import annotations

import io

import av
import numpy as np

from tests.contract.fake_director import png


def _cat() -> bytes:
    frame = np.full((40, 60, 3), 90, np.uint8)
    frame[10:30, 20:40] = (220, 120, 30)
    return png(frame)


def _film() -> bytes:
    """Three seconds of 25 frames, as another program writes them."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 320, 180, "yuv420p"
        for number in range(75):
            frame = np.full((180, 320, 3), 3 * number, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
    return buffer.getvalue()


CAT = _cat()
"""A picture to upload."""
FILM = _film()
"""A video that was made elsewhere."""
