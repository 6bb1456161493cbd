"""What the cache holds of a picture or a clip: the Conditioner writes it, the collector follows it."""

from __future__ import annotations

from serving.frozen import Stored
from serving.segments.manifest import LatentRef


class EncodedPicture(Stored):
    """What the cache holds of a picture or a clip."""

    latent: LatentRef
    """Of a picture its one, of a clip all of them."""
    description: str = ""
    warning: str | None = None
    facts: str = ""
    """`FrameReading.facts`, `ReferenceReading.facts`."""
