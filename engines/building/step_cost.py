"""What reusing predictions costs a model's videos, and what it saves: a run without it and one with it, from one seed.

`longtake models step-cache` asks before it sets a threshold (`families/step_cache.py`). The runs are as users ask for
them: the model's first canvas, a root of its usual length, in whatever engines are handed in.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from engines.building import parity
from engines.building.parity import Levels
from engines.families import step_cache
from engines.families.base import ClipFamily, Conditions, Engines, Family, Frames
from engines.families.capabilities import Canvas
from engines.families.history import Before

LEAST_DB: Final = 25.0
"""What is allowed, or more: all pixels are off by 14 levels of 255 in the root of their mean square."""


@dataclass(frozen=True)
class Cost:
    """Of one prompt."""

    prompt: str
    steps: int
    reused: int
    seconds: tuple[float, float]
    """Of denoising: every step computed, and some reused."""
    decibels: float
    """Peak signal to noise of all frames, with the others as what is wanted; infinite where they are equal."""
    levels: Levels

    @property
    def problem(self) -> str | None:
        """What is beyond what is allowed."""
        if self.decibels >= LEAST_DB:
            return None
        return f"{self.prompt!r}: {self.decibels:.1f} dB from the run that computes every step (at least {LEAST_DB:g})"


def measure(
    family: Family,
    engines: Engines,
    prompt: str,
    *,
    threshold: float,
    steps: int,
    seed: int,
    tell: Callable[[str, int, int], None],
) -> Cost:
    """Make one video twice. `tell` hears of steps done, of all of both runs."""
    conditions = _conditions(family, engines, prompt, seed)
    runs = []
    for number, allowed in enumerate((0.0, threshold)):
        state = family.start(conditions, seed=seed, segment=0, steps=steps)
        state.step_cache = allowed
        began = time.perf_counter()
        while not state.done:
            tell(prompt, number * steps + state.step, 2 * steps)
            family.step(engines, [state])
        seconds = time.perf_counter() - began
        own = state.latents[state.beside + state.lead :]
        frames: Frames = np.concatenate(list(family.decode(engines, own, lead=None)))
        runs.append((frames, seconds, step_cache.skipped(state.memory)))
    (wanted, whole, _), (found, saved, reused) = runs
    return Cost(prompt, steps, reused, (whole, saved), decibels(wanted, found), parity.levels(wanted, found))


def decibels(wanted: Frames, found: Frames) -> float:
    """Peak signal to noise of one video against another, both uint8 of one shape."""
    off = float(np.square(wanted.astype(np.float64) - found).mean())
    return float(10 * np.log10(255**2 / off)) if off else float("inf")


def _conditions(family: Family, engines: Engines, prompt: str, seed: int) -> Conditions:
    canvas = family.capabilities.canvases[0]
    before = Before(canvas)
    [caption, *_] = family.read_prompt(prompt, seed=seed, before=before).effective_prompts
    clips = _clips(family, engines, canvas) if isinstance(family, ClipFamily) else {}
    text = family.encode_text(engines, caption)
    return Conditions(canvas, text, effective_prompt=caption, before=before, **clips)


def _clips(family: ClipFamily, engines: Engines, canvas: Canvas) -> dict[str, Any]:
    """A clip of which nothing is known; for families that need a first frame one from black to white."""
    if family.takes_blank:
        return {"blank": family.encode_clip(engines, np.zeros((0, canvas.height, canvas.width, 3), np.uint8))}
    ramp = np.linspace(0, 255, canvas.width).astype(np.uint8)
    picture = np.broadcast_to(ramp[None, None, :, None], (1, canvas.height, canvas.width, 3))
    return {"first": family.encode_clip(engines, picture)}
