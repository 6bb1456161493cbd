"""Pictures that users hand in, and the decoder without its child process: a picture is a few bytes behind PNG's mark.

One picture ends whoever decodes it for work, as a file does that crashes a driver; the check at the front door, which
uses another decoder, finds nothing.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable

import numpy as np

from engines.families.base import Frames
from serving.media.sandbox import Decoder, PictureFacts

_PNG = b"\x89PNG\r\n\x1a\n"
GOOD = tuple(_PNG + b"picture %d" % number for number in range(3))
DEADLY = _PNG + b"deadly"
DEADLY_DIGEST = hashlib.sha256(DEADLY).hexdigest()


class SimDecoder(Decoder):
    """See the module."""

    def __init__(self, die: Callable[[], None]) -> None:
        """`die` kills the process."""
        self._die = die

    async def check_image(self, data: bytes, *, field: str) -> PictureFacts:
        """Every picture is one."""
        return PictureFacts(width=16, height=9, transparent=False)

    async def image(self, data: bytes, width: int, height: int, *, whole: bool = False, field: str = "image") -> Frames:
        if data == DEADLY:
            self._die()
            await asyncio.Event().wait()  # nothing of a dead process runs
        return np.frombuffer(data, np.uint8)
