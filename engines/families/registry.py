"""The model families that Longtake ships, one line each, the default first.

`engines/models.py` reads it. A new family is its folder and a line here.
"""

from __future__ import annotations

from typing import Final

PLACES: Final = ("engines.families.sprite.family:SpriteFamily",)
"""Classes that implement `buildable.BuildableFamily`, as `module:class`."""
