"""Opens a Wan checkpoint: the family that its pipeline takes. `families/registry.py` names it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from engines.checkpoints import diffusers
from engines.checkpoints.files import Files
from engines.families.buildable import Sizes
from engines.families.wan import architecture
from engines.families.wan.architecture import Task
from engines.families.wan.family import WanFamily
from engines.families.wan.image import WanImageFamily
from engines.families.wan.still import WanStillFamily
from engines.families.wan.vace import WanVaceFamily

_FAMILIES: Final[Mapping[Task, type[WanFamily]]] = {
    "text": WanFamily,
    "still": WanStillFamily,
    "image": WanImageFamily,
    "vace": WanVaceFamily,
}


def opened(files: Files, *, name: str, sizes: Sizes) -> WanFamily:
    """See `WanFamily`. Raises `CheckpointUnfit`."""
    task = architecture.task_of(diffusers.read_json(files, diffusers.INDEX))
    return _FAMILIES[task](files, name=name, sizes=sizes)
