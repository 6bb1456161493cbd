"""Inputs that engines are verified on: random, and drawn from a seed alone, so that any install draws the
same.

`build.py` records what the torch reference answers to them, `verify.py` compares. The calls of single components come
from the family (`BuildableFamily.cases`); here are whole runs, through whatever the family can do.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from engines.families.base import Array, ClipFamily, Conditions, Engines, Frames
from engines.families.buildable import PROBE_SEED, BuildableFamily
from engines.families.capabilities import Canvas
from engines.families.history import Before, Reference

KEPT: Final = 16
"""Values that a probe keeps of each output."""
RUN_STEPS: Final = 3
"""Denoising steps of an end-to-end run."""


def end_to_end(family: BuildableFamily, engines: Engines, canvas: Canvas) -> dict[str, NDArray[np.float32]]:
    """A short run through every component: pictures, caption, root, extension, pixels.

    Returns the latents of both segments, and the last one's frames in 0..255; without a reference or an extension
    where the family takes none.
    """
    can = family.capabilities
    references = (_reference(family, engines, canvas),) if can.references_max else ()
    clips = _clips(family, engines, canvas) if isinstance(family, ClipFamily) else {}
    before = Before(canvas, references=(Reference(),) * len(references))
    prompts = family.read_prompt(family.probe_prompt, seed=PROBE_SEED, before=before, segments=2).effective_prompts
    shown = Conditions(
        canvas,
        family.encode_text(engines, prompts[0]),
        references,
        first=clips.get("first"),
        blank=clips.get("blank"),
        effective_prompt=prompts[0],
        before=before,
    )
    _, root = _denoise(family, engines, shown, segment=0)
    if not can.extension:
        return {"root": root, "frames": _frames(family, engines, root, lead=None)}
    history = root[-family.history_latents :]
    if isinstance(family, ClipFamily):
        history = family.encode_continued(engines, history)
    facts = family.plan_history(prompts[0], before).facts
    before = Before(canvas, len(root), facts)
    plan = family.plan_history(prompts[-1], before)
    conditions = Conditions(
        canvas,
        family.encode_text(engines, prompts[-1]),
        references if plan.of("reference") else (),
        anchor=root[:1] if plan.of("anchor") else None,
        short=history,
        blank=clips.get("blank"),
        memory=tuple(root[number] for number in plan.of("memory")),
        effective_prompt=prompts[-1],
        before=before,
    )
    brought, further = _denoise(family, engines, conditions, segment=1)
    before_it = root[-family.lead_latents :] if family.lead_latents else None
    lead = brought if len(brought) else before_it
    return {"root": root, "extension": further, "frames": _frames(family, engines, further, lead=lead)}


def _reference(family: BuildableFamily, engines: Engines, canvas: Canvas) -> Array:
    picture = _picture(*(family.capabilities.reference_size or (canvas.height, canvas.width)))
    return family.encode_still(engines, family.read_reference(picture).picture)


def _clips(family: ClipFamily, engines: Engines, canvas: Canvas) -> dict[str, Array]:
    """With a first frame, where the family takes one."""
    picture = _picture(canvas.height, canvas.width)
    clips = {"blank": family.encode_clip(engines, picture[None][:0])} if family.takes_blank else {}
    if family.capabilities.first_frame:
        clips["first"] = family.encode_clip(engines, picture[None])
    return clips


def _picture(height: int, width: int) -> Frames:
    random = np.random.Generator(np.random.Philox(key=[PROBE_SEED, 99]))
    return random.integers(0, 256, (height, width, 3)).astype(np.uint8)


def _frames(family: BuildableFamily, engines: Engines, latents: Array, *, lead: Array | None) -> Array:
    return np.concatenate(list(family.decode(engines, latents, lead=lead))).astype(np.float32)


def _denoise(family: BuildableFamily, engines: Engines, conditions: Conditions, *, segment: int) -> tuple[Array, Array]:
    """The lead that it brings, and its own latents."""
    state = family.start(conditions, seed=PROBE_SEED, segment=segment, steps=RUN_STEPS)
    while not state.done:
        family.step(engines, [state])
    own = state.beside + state.lead
    return state.latents[state.beside : own], state.latents[own:]


def kept(outputs: Mapping[str, NDArray[np.generic]]) -> dict[str, tuple[float, ...]]:
    """What a probe keeps of outputs: values at evenly spaced places; NaN where any value is no finite number, for the
    places might miss it."""
    result = {}
    for name, values in outputs.items():
        flat = np.asarray(values, np.float32).ravel()
        places = np.linspace(0, len(flat) - 1, min(KEPT, len(flat))).astype(int)
        found = flat[places] if np.isfinite(flat).all() else np.full(len(places), np.nan)
        result[name] = tuple(float(value) for value in found)
    return result
