"""The sprite model's sampler: a segment from noise to latents, step by step, on the denoiser's engine.

`family.py` calls it for the stages. The packing is that which the model was trained with (`packing.py`).
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from engines.families.base import Array, Conditions, Denoising, Engines
from engines.families.sprite import packing, world
from engines.families.sprite.capabilities import CAPABILITIES


def start(conditions: Conditions, *, seed: int, segment: int, steps: int) -> Denoising:
    """Noise for a segment, and all that its steps share.

    Raises `ValueError` for conditions that this model does not take together.
    """
    _check(conditions)
    height, width = (
        conditions.canvas.height // world.LATENT_PX,
        conditions.canvas.width // world.LATENT_PX,
    )
    count = packing.REST_LATENTS + 1 if conditions.is_root else packing.REST_LATENTS
    key = np.array([seed & (2**64 - 1), segment], np.uint64)  # a plain list of large numbers would be rounded
    random = np.random.Generator(np.random.Philox(key=key))
    latents = random.standard_normal((count, world.LATENT_CHANNELS, height, width), dtype=np.float32)
    if conditions.first is not None:
        latents[:1] = conditions.first
    packed = packing.pack(
        latents[None],
        reference=conditions.references[0][None] if conditions.references else None,
        anchor=None if conditions.anchor is None else conditions.anchor[None],
        short=None if conditions.short is None else conditions.short[None],
    )
    where = packed.positions
    constant: dict[str, NDArray[np.generic]] = {
        "text": conditions.text[None],
        "row": where.row,
        "col": where.col,
        "frame": where.frame,
        "segment": where.segment,
        "context": packed.tokens[:, : where.target.start],
    }
    if conditions.first is not None:
        constant["first"] = conditions.first
    return Denoising(latents=latents, step=0, times=packing.times(steps), packed=constant)


def step(engines: Engines, states: Sequence[Denoising]) -> None:
    """One Euler step of each, in place. A given first frame stays as it is."""
    nows = [float(state.times[state.step]) for state in states if not state.done]
    if len(nows) < len(states) or len({batch_key(state) for state in states}) != 1:
        raise ValueError("step: states of one batch_key, none of them done")
    predicted = _float(engines.infer("dit", dit_inputs(states, nows))["x0"])
    for state, now, tokens in zip(states, nows, predicted, strict=True):
        then = float(state.times[state.step + 1])
        context = state.packed["context"].shape[1]
        height, width = state.latents.shape[-2:]
        clean = packing.unpatchify(tokens[context:], height, width)
        latents = packing.euler(state.latents, clean, now, then)
        if "first" in state.packed:
            latents[:1] = state.packed["first"]
        state.latents = latents
        state.step += 1


def batch_key(state: Denoising) -> Hashable:
    """The canvas, and which conditions there are: they fix every token's position."""
    packed = state.packed
    return state.latents.shape, packed["context"].shape, packed["segment"].tobytes(), "first" in packed


def dit_inputs(states: Sequence[Denoising], times: Sequence[float]) -> Mapping[str, NDArray[np.generic]]:
    """The denoiser's inputs for latents as they stand, each at its own time."""
    constants = [state.packed for state in states]
    tokens = [
        np.concatenate([_float(constant["context"]), packing.patchify(state.latents)[None]], axis=1)
        for state, constant in zip(states, constants, strict=True)
    ]
    first_given = "first" in constants[0]
    return {
        **{name: constants[0][name] for name in ("row", "col", "frame", "segment")},
        "text": np.concatenate([constant["text"] for constant in constants]),
        "tokens": np.concatenate(tokens),
        "levels": np.concatenate([packing.levels(1, time, first_given=first_given) for time in times]),
    }


def _check(conditions: Conditions) -> None:
    """Refuse what the model was never trained on."""
    if len(conditions.references) > CAPABILITIES.references_max:
        raise ValueError(f"references: {len(conditions.references)}; this model takes {CAPABILITIES.references_max}")
    if conditions.is_root:
        return
    if conditions.first is not None:
        raise ValueError("first: an extension has no given first frame")
    if conditions.anchor is None or conditions.short is None:
        raise ValueError("anchor, short: an extension takes both")
    if len(conditions.short) != packing.SHORT_LATENTS:
        raise ValueError(f"short: {len(conditions.short)} latents; an extension takes {packing.SHORT_LATENTS}")


def _float(values: NDArray[np.generic]) -> Array:
    return np.asarray(values, np.float32)
