"""What the sprite model can do. `family.py` declares it; `sampler.py` refuses what lies beyond it."""

from __future__ import annotations

from typing import Final

from engines.families.capabilities import Canvas, Capabilities, Range
from engines.families.sprite import packing, world

CAPABILITIES: Final = Capabilities(
    model="sprite-1",
    family="sprite",
    description=(
        "A small causal video model of one sprite that moves over a plain background: "
        f"{', '.join(world.COLOUR_NAMES)}; {', '.join(world.SHAPE_NAMES)}, or a 4x4 pattern read from a reference "
        f"picture; backgrounds {', '.join(world.BACKGROUND_NAMES)}; motion {', '.join(world.DIRECTION_NAMES)}."
    ),
    canvases=tuple(Canvas(aspect, *world.CANVASES[aspect]) for aspect in ("16:9", "1:1", "9:16")),
    resolutions={"480p": 7, "720p": 11, "1080p": 16},
    image_resolutions={"1k": 1024, "2k": 2048},
    fps=world.FPS,
    latent_channels=world.LATENT_CHANNELS,
    latent_stride=world.LATENT_PX,
    frames_per_latent=world.FRAMES_PER_LATENT,
    first_latent_frames=1,
    root_latents=packing.REST_LATENTS + 1,
    segment_latents=packing.REST_LATENTS,
    seconds=Range(1, 15, 8),
    extension_seconds=Range(1, 10, 6),
    steps=Range(1, 50, packing.DEFAULT_STEPS),
    reference_size=(world.SPRITE_PX, world.SPRITE_PX),
    references_max=1,
    max_prompt_chars=4096,
    aliases=("sprite",),
)
