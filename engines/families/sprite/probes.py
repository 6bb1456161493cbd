"""Random inputs of the sprite-2 model's components, on which its engines are compared with their torch modules.

`family.py` hands them to `engines/building`. A case is a canvas and, for the denoiser, a kind of segment; inputs of the
VAE are batches of two.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np

from engines.families.base import Array, Conditions, Family
from engines.families.buildable import PROBE_SEED, Case
from engines.families.capabilities import Canvas
from engines.families.history import Before, Reference
from engines.families.sprite import denoising, world

STEPS: Final = 3
CACHE_CHANNELS: Final = 128
"""Of the decoder's cache; `vae.py` says the same, and needs torch."""
_PROMPT: Final = "<ref1> at the top left stays and a red bar at the bottom right moves left"


def cases(family: Family) -> Iterator[Case]:
    """Each component on every canvas."""
    for index, canvas in enumerate(family.capabilities.canvases):
        random = np.random.Generator(np.random.Philox(key=[PROBE_SEED, 1 + index]))
        height, width = canvas.height // world.LATENT_PX, canvas.width // world.LATENT_PX
        frames = random.uniform(-1, 1, (2, world.FRAMES_PER_LATENT, 3, canvas.height, canvas.width))
        latent = random.standard_normal((2, world.LATENT_CHANNELS, height, width), dtype=np.float32)
        yield Case("vae_encoder", canvas.aspect_ratio, {"frames": frames.astype(np.float32)})
        yield Case("vae_decoder_first", canvas.aspect_ratio, {"latent": latent})
        cache = random.standard_normal((2, CACHE_CHANNELS, height, width), dtype=np.float32)
        yield Case("vae_decoder_step", canvas.aspect_ratio, {"latent": latent, "cache_in": cache})
        for name, conditions in _conditions(family, canvas, random):
            state = family.start(conditions, seed=PROBE_SEED, segment=index, steps=STEPS)
            yield Case("dit", f"{canvas.aspect_ratio} {name}", denoising.inputs([state], [0.7]))


def _conditions(family: Family, canvas: Canvas, random: np.random.Generator) -> Iterator[tuple[str, Conditions]]:
    """A first segment with and without a scene, and two extensions: one that goes on, one that comes back."""
    height, width = canvas.height // world.LATENT_PX, canvas.width // world.LATENT_PX

    def draw(height: int, width: int) -> Array:
        return random.standard_normal((world.LATENT_CHANNELS, height, width), dtype=np.float32)

    subject, scene = draw(2, 2), draw(height, width)
    for roles in ((Reference(),), (Reference(), Reference("scene", "navy"))):
        before = Before(canvas, references=roles)
        pictures = (subject, scene)[: len(roles)]
        prompts = [_PROMPT, "the camera pans right", "the camera pans back"]
        for prompt in prompts[: 1 if len(roles) > 1 else None]:
            (caption,) = family.read_prompt(prompt, seed=PROBE_SEED, before=before).effective_prompts
            plan = family.plan_history(caption, before)
            memory = tuple(draw(height, width) for _ in plan.of("memory"))
            short = draw(height, width)[None] if before.latents else None
            text = np.zeros((0, 0), np.float32)
            name = f"{prompt}, {len(roles)} references"
            yield (
                name,
                Conditions(canvas, text, pictures, short=short, memory=memory, effective_prompt=caption, before=before),
            )
            made = _latents(family, root=not before.latents)
            before = Before(canvas, before.latents + made, plan.facts, references=roles)


def _latents(family: Family, *, root: bool) -> int:
    """Latents of a segment."""
    return family.capabilities.root_latents if root else family.capabilities.segment_latents
