"""What tests of single stages ask for: one caption, on the smallest canvas."""

from __future__ import annotations

import numpy as np

from engines.families.base import Conditions
from engines.families.capabilities import Canvas
from engines.families.history import Before
from serving.media.track import Track
from serving.requests import Codec
from serving.segments.manifest import ManifestCanvas
from serving.stages.contracts import (
    TextCall,
)
from serving.stages.loaded import Loaded
from serving.stages.text import TextEncoder

TENANT = "studio"
MODEL = "sprite-2"
CANVAS = ManifestCanvas(aspect_ratio="1:1", height=64, width=64)
TRACK = Track(codec=Codec.H264, width=128, height=128, fps=16)
CAPTION = "a red square at column 1, row 1 moves right under a white sky, the camera holds"


def calls(loaded: Loaded, component: str) -> int:
    """How often an engine was asked."""
    return loaded.session.usage[component].calls


async def text_of(loaded: Loaded, tenant: str = TENANT) -> np.ndarray:
    """The caption's embedding."""
    return await TextEncoder(loaded).embed(TextCall(tenant, MODEL, "d" * 64, CAPTION))


async def conditions_of(loaded: Loaded) -> Conditions:
    """The caption alone."""
    canvas = Canvas("1:1", 64, 64)
    return Conditions(canvas, await text_of(loaded), effective_prompt=CAPTION, before=Before(canvas))
