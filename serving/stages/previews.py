"""What unfinished segments are becoming, as pictures: a small PNG of each now and then, beside its checkpoints.

`denoise.py` has them made where the model's family makes any, and tells the newest one's digest with each slice. They
are blobs that no record names: the collector takes them when they are old.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from engines.families.base import PreviewingFamily
from serving.errors import LongtakeError
from serving.logs import logger
from serving.media.still import png
from serving.stages.engine_loop import SegmentKey, SliceEnd
from serving.stages.loaded import Loaded
from serving.stages.threads import in_thread

EVERY_S: Final = 2.0
"""Of one segment, at most: each stays in the store for a while."""
_REMEMBERED: Final = 256
"""Segments."""

_log = logger("previews")


class Previews:
    """Of one replica."""

    def __init__(self, loaded: Loaded, *, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock`: in monotonic seconds."""
        self._loaded = loaded
        family = loaded.session.family
        self._family = family if isinstance(family, PreviewingFamily) else None
        self._clock = clock
        self._newest: OrderedDict[SegmentKey, tuple[str, float]] = OrderedDict()
        """The blob's digest, and when it was made."""
        self._one = asyncio.Semaphore(1)

    def of(self, key: SegmentKey) -> str:
        """The digest of a segment's newest preview; empty where there is none."""
        return self._newest.get(key, ("", 0.0))[0]

    def forget(self, key: SegmentKey) -> None:
        """The segment is done: it is shown itself."""
        self._newest.pop(key, None)

    async def make(self, tenant: str, key: SegmentKey, end: SliceEnd) -> None:
        """Draw a segment as it was when a slice ended, if it is time for another one."""
        now, known = self._clock(), self._newest.get(key)
        if self._family is None or (known is not None and now < known[1] + EVERY_S):
            return
        try:
            async with self._one:
                picture = await in_thread(self._family.preview, self._loaded, end.latents, end.memory)
            digest = await self._loaded.blobs(tenant).put(await in_thread(png, picture))
        except LongtakeError as error:  # the next one may come through
            _log.warning("preview not stored", job=key[0], reason=error.reason, message=error.message)
            return
        except Exception as error:  # noqa: BLE001  (the edge of its task: no work ends for want of a picture)
            _log.error("preview not made", job=key[0], message=str(error), exc_info=error)
            return
        self._newest[key] = digest, now
        self._newest.move_to_end(key)
        while len(self._newest) > _REMEMBERED:  # of segments that went elsewhere or were stopped
            self._newest.popitem(last=False)
