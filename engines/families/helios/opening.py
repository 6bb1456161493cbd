"""Opens a Helios checkpoint. `families/registry.py` names it."""

from __future__ import annotations

from engines.checkpoints.files import Files
from engines.families.buildable import Sizes
from engines.families.helios.family import HeliosFamily


def opened(files: Files, *, name: str, sizes: Sizes) -> HeliosFamily:
    """See `HeliosFamily`. Raises `CheckpointUnfit`."""
    return HeliosFamily(files, name=name, sizes=sizes)
