"""Where a segment's media lie. Part of a manifest; `serving/media/virtual.py` makes files of it."""

from __future__ import annotations

from serving.frozen import Digest, Stored


class MediaPart(Stored):
    """One segment's fragments: a blob of `moof`+`mdat` pairs, in order."""

    blob: Digest
    size: int
    """Bytes of the blob."""
    fragment_sizes: tuple[int, ...]
    fragment_frames: tuple[int, ...]

    @property
    def frames(self) -> int:
        """Of all its fragments."""
        return sum(self.fragment_frames)
