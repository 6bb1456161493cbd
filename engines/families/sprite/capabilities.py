"""What the sprite-2 model can do. `family.py` declares it."""

from __future__ import annotations

from typing import Final

from engines.families.capabilities import Canvas, Capabilities, Range
from engines.families.sprite import packing, world
from engines.families.sprite.directing import SEGMENT_LATENTS

CAPABILITIES: Final = Capabilities(
    model="sprite-2",
    family="sprite",
    description=(
        "A small video model that is directed second by second, in a world that it remembers: one or two subjects "
        f"({', '.join(world.COLOUR_NAMES)}; {', '.join(world.SHAPE_NAMES)}; or a 2x2 pattern that a picture shows) "
        f"over scenery wider than the frame, under a sky ({', '.join(world.SKY_NAMES)}); the camera holds or pans."
    ),
    canvases=tuple(Canvas(aspect, *world.CANVASES[aspect]) for aspect in ("16:9", "1:1", "9:16")),
    resolutions={"480p": 6, "720p": 9, "1080p": 13},
    image_resolutions={"1k": 1024, "2k": 2048},
    fps=world.FPS,
    latent_channels=world.LATENT_CHANNELS,
    latent_stride=world.LATENT_PX,
    frames_per_latent=world.FRAMES_PER_LATENT,
    first_latent_frames=1,
    root_latents=packing.ROOT_LATENTS,
    segment_latents=SEGMENT_LATENTS,
    seconds=Range(1, 15, 8),
    extension_seconds=Range(1, 10, 6),
    steps=Range(1, 50, packing.DEFAULT_STEPS),
    reference_size=(world.TOKEN_PX, world.TOKEN_PX),
    references_max=world.SUBJECTS_MAX + 1,
    max_prompt_chars=4096,
    extension_references=False,
    aliases=("sprite",),
)
