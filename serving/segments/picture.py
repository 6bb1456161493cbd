"""What the cache holds of a picture: the Conditioner writes it, the collector follows it."""

from __future__ import annotations

from serving.frozen import Stored
from serving.segments.manifest import LatentRef


class EncodedPicture(Stored):
    """What the cache holds of a picture."""

    latent: LatentRef
    description: str = ""
    warning: str | None = None
