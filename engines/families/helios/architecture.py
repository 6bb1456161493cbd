"""Whether a checkpoint is a Helios that is served, and the sizes that follow: read from its small files, without torch.

`family.py` asks before it serves one. Of the three that were published it is the first, Helios-Base: the other two
denoise in a pyramid of sizes, another pipeline's work.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from engines.checkpoints.diffusers import Checkpoint
from engines.checkpoints.files import Files
from engines.errors import CheckpointUnfit
from engines.families.helios import schedule
from engines.families.helios.schedule import Schedule
from engines.families.wan.architecture import Parts, demand, parts_of, understood

CHUNK: Final = 9
"""Latents of a segment."""
LONG, MIDDLE, NEWEST = 16, 2, 1
"""Latents of the history, the oldest first: a token of the long one spans four times as much along each axis as the
newest one's, of the middle one twice."""
HISTORY: Final = LONG + MIDDLE + NEWEST
SHOWN: Final = 1 + HISTORY
"""Latents that the denoiser is given beside the chunk: the video's first one, and the newest."""
UNIT: Final = 4
"""Tokens that a token of the long history spans along height and width: sides are so many times a patch, and nothing
is padded."""


@dataclass(frozen=True)
class Helios(Parts):
    """One checkpoint, understood."""

    schedule: Schedule


def read(files: Files) -> Helios:
    """Understand a checkpoint. Raises `CheckpointUnfit`, which says what is taken instead."""
    return understood(files, _understood)


def _understood(found: Checkpoint) -> Helios:
    demand(found, "transformer", "HeliosTransformer3DModel")
    parts = parts_of(found)
    demand(found, "scheduler", "HeliosScheduler")
    config = found.component("transformer").config
    for name, wanted in {
        "in_channels": parts.latent_channels,
        "out_channels": parts.latent_channels,
        "has_multi_term_memory_patch": True,
    }.items():
        if (said := config.get(name, wanted)) != wanted:
            raise CheckpointUnfit(f"transformer: {name} is {said!r}, where its pipeline needs {wanted!r}; take another")
    return Helios(**vars(parts), schedule=schedule.read(found.component("scheduler").config))
