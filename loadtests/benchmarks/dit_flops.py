"""How much of the machine's matrix arithmetic a denoising step reaches.

FLOP/s of a DiT step, against the peak of float32 matrix multiplication (numpy's BLAS) on the same cores in the same
run. Only matrix products are counted in a step, though it does more than those.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

import numpy as np

from engines.families.base import Conditions, Denoising
from engines.families.capabilities import Canvas
from engines.families.history import Before
from engines.families.sprite import packing, words
from engines.session import Session, load_session
from loadtests.scale import Scale
from loadtests.studio import MODEL
from loadtests.table import Row, paired, spread

NAME = "dit_flops"
PROMPT = "a red square moves right. the camera pans right"
_SQUARE = 2048
_STEPS = 8


@dataclass(frozen=True)
class DitShape:
    """What decides how many products a step takes."""

    width: int
    blocks: int
    text: int
    """Text tokens."""
    features: int
    """Features of a token, in and out."""
    segments: int
    """Segments that have a noise level of their own."""
    level_features: int
    """Features that describe a noise level."""
    turns: int
    """Pairs of channels that are rotated by a token's two coordinates."""


SPRITE = DitShape(
    width=96,
    blocks=6,
    text=words.SLOTS,
    features=packing.TOKEN_FEATURES,
    segments=len(packing.SEGMENTS),
    level_features=128,
    turns=10,
)


def step_flops(shape: DitShape, packed_tokens: int) -> int:
    """FLOPs of the matrix products of one step at batch 1 over so many packed tokens (text not counted in)."""
    width, tokens = shape.width, shape.text + packed_tokens
    linear = tokens * width * width * (3 + 1 + 4 + 4)
    attention = 2 * tokens * tokens * width
    ends = packed_tokens * shape.features * width + tokens * width * shape.features
    levels = shape.segments * width * (shape.level_features + width + 6 * width + 2 * width) + width * width
    places = tokens * 2 * shape.turns
    return 2 * (shape.blocks * (linear + attention) + ends + levels + places)


def run(scale: Scale) -> list[Row]:
    """Each canvas, a root and an extension."""
    session = asyncio.run(load_session(MODEL))
    with session:
        return [
            _row(session, canvas, scale, root=root)
            for canvas in session.family.capabilities.canvases
            for root in (True, False)
        ]


def _row(session: Session, canvas: Canvas, scale: Scale, *, root: bool) -> Row:
    conditions = conditions_of(session, canvas, root=root)
    state = session.family.start(conditions, seed=1, segment=0, steps=_STEPS)
    tokens = len(state.packed["role"])
    flops = step_flops(SPRITE, tokens)
    left = np.random.default_rng(1).standard_normal((_SQUARE, _SQUARE), dtype=np.float32)
    step_seconds(session, conditions), _gemm_seconds(left)
    steps: list[float] = []
    peaks: list[float] = []
    for turn in range(2 * scale.rounds):
        for peak in (True, False) if turn % 2 else (False, True):
            if peak:
                peaks.append(2 * _SQUARE**3 / _gemm_seconds(left) / 1e9)
            else:
                steps.append(flops / step_seconds(session, conditions) / 1e9)
    kind = "root" if root else "extension"
    what = f"{canvas.aspect_ratio} {kind}: {tokens} tokens, {flops / 1e9:.2f} GFLOP a step, GFLOP/s"
    return Row(NAME, what, spread(steps, 0), f"GEMM {spread(peaks, 0)}", paired(steps, peaks))


def conditions_of(session: Session, canvas: Canvas, *, root: bool) -> Conditions:
    """Conditions of the right shapes; what they say costs nothing."""
    random, can = np.random.default_rng(0), session.family.capabilities

    def latents(count: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
        size = (canvas.height // can.latent_stride, canvas.width // can.latent_stride)
        return random.standard_normal((count, can.latent_channels, *size), dtype=np.float32)

    family, before = session.family, Before(canvas)
    captions = family.read_prompt(PROMPT, seed=1, before=before, segments=2).effective_prompts
    if not root:
        before = Before(canvas, can.root_latents, family.plan_history(captions[0], before).facts)
    caption = captions[0 if root else 1]
    memory = family.plan_history(caption, before).of("memory")
    return Conditions(
        canvas=canvas,
        text=family.encode_text(session, caption),
        short=None if root else latents(family.history_latents),
        memory=tuple(latents(len(memory))),
        effective_prompt=caption,
        before=before,
    )


def step_seconds(session: Session, conditions: Conditions) -> float:
    """Mean time of the engine's own call over a whole segment."""
    state: Denoising = session.family.start(conditions, seed=1, segment=0, steps=_STEPS)
    before = session.usage["dit"].seconds
    while not state.done:
        session.family.step(session, [state])
    return (session.usage["dit"].seconds - before) / _STEPS


def _gemm_seconds(left: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> float:
    began = time.perf_counter()
    left @ left
    return time.perf_counter() - began
