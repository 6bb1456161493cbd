"""The model families that Longtake ships, one line each, the default first.

`engines/models.py` reads it. A new family is its folder and a line here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

PLACES: Final = ("engines.families.sprite.family:SpriteFamily",)
"""Classes that implement `buildable.BuildableFamily`, as `module:class`."""
CHECKPOINTS: Final[Mapping[str, str]] = {
    "WanPipeline": "engines.families.wan.opening:opened",
    "WanImageToVideoPipeline": "engines.families.wan.opening:opened",
    "WanVACEPipeline": "engines.families.wan.opening:opened",
    "HeliosPipeline": "engines.families.helios.opening:opened",
}
"""For checkpoints that an operator brings: the pipeline that they were saved from → what opens their files as a family,
called with the files, with `name`, what requests call the model, and with `sizes`."""
