"""A Wan's video through Longtake's own loop, and its latents through diffusers' own, from the same noise and text.

What Longtake's loop takes outside of its engines is its own overhead: the sampler, the copies, the pixels, and the
checks of what each engine is given, which are within the engine's call and so are measured apart.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from engines.families.base import Array, Conditions, Engines
from engines.families.wan.sampler import GUIDANCE
from engines.runtimes.base import check_inputs
from engines.session import Session

SEED: Final = 5
_CHECKS: Final = 100
"""Repeated so often to be measured."""
Inputs = Mapping[str, NDArray[np.generic]]


@dataclass(frozen=True)
class Denoised:
    """What diffusers made."""

    seconds: float
    latents: Array
    """[T, C, h, w]"""


@dataclass(frozen=True)
class Video:
    """One video made."""

    seconds: float
    """From noise to pixels."""
    denoising: float
    """Seconds of it until the latents were clean."""
    outside: float
    """Seconds of it outside of the engines, their checks among them."""
    latents: Array
    """[T, C, h, w]"""


class Recorder:
    """Implements `Engines` on a session: keeps what each component was given first."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.given: dict[str, Inputs] = {}

    def infer(self, component: str, inputs: Inputs) -> dict[str, NDArray[np.generic]]:
        """See `Engines`."""
        self.given.setdefault(component, dict(inputs))
        return self._session.infer(component, inputs)


def record(session: Session, conditions: Conditions) -> dict[str, Inputs]:
    """What each component is given first for a video of these conditions."""
    recorder = Recorder(session)
    _make(session, recorder, conditions, steps=1)
    return recorder.given


def longtake(session: Session, conditions: Conditions, *, steps: int, checks: Mapping[str, float]) -> Video:
    """Make the video. `checks` are the seconds that a check of each component's inputs takes."""
    before = session.usage
    begun = time.perf_counter()
    latents, denoised = _make(session, session, conditions, steps=steps)
    seconds = time.perf_counter() - begun
    inside = sum(
        now.seconds - before[name].seconds - (now.calls - before[name].calls) * checks.get(name, 0.0)
        for name, now in session.usage.items()
    )
    return Video(seconds, denoised - begun, seconds - inside, latents)


def check_seconds(session: Session, given: Mapping[str, Inputs]) -> dict[str, float]:
    """Of one check of each component's inputs."""
    found = {}
    for name, inputs in given.items():
        component = session.runners[name].component
        begun = time.perf_counter()
        for _ in range(_CHECKS):
            check_inputs(component, inputs)
        found[name] = (time.perf_counter() - begun) / _CHECKS
    return found


def diffusers(pipeline: Any, session: Session, conditions: Conditions, *, steps: int) -> Denoised:
    """The latents that diffusers' loop makes of the same noise and text, with the pipeline's transformer."""
    import torch

    can, state = session.family.capabilities, session.family.start(conditions, seed=SEED, segment=0, steps=steps)
    text = torch.from_numpy(np.asarray(state.packed["text"], np.float32))
    begun = time.perf_counter()
    made = pipeline(
        prompt_embeds=text[:1],
        negative_prompt_embeds=text[1:],
        latents=torch.from_numpy(np.moveaxis(state.latents, 1, 0)[None].copy()),
        height=conditions.canvas.height,
        width=conditions.canvas.width,
        num_frames=can.frames_of(len(state.latents), root=True),
        num_inference_steps=steps,
        guidance_scale=float(GUIDANCE),
        output_type="latent",
    ).frames
    seconds = time.perf_counter() - begun
    return Denoised(seconds, np.moveaxis(made[0].numpy(), 1, 0))


@contextmanager
def through(engines: Engines, transformer: Any) -> Iterator[None]:
    """diffusers' transformer computes in an engine while the block runs."""
    import torch

    def forward(hidden_states: Any, timestep: Any, encoder_hidden_states: Any, **_: Any) -> tuple[Any]:
        inputs = {
            "latents": hidden_states.numpy(),
            "time": timestep.numpy().astype(np.float32),
            "text": encoder_hidden_states.numpy(),
        }
        return (torch.from_numpy(np.asarray(engines.infer("dit", inputs)["velocity"])),)

    transformer.forward = forward
    try:
        yield
    finally:
        del transformer.forward


def _make(session: Session, engines: Engines, conditions: Conditions, *, steps: int) -> tuple[Array, float]:
    """The latents, and when they were clean; the pixels are let go."""
    family = session.family
    state = family.start(conditions, seed=SEED, segment=0, steps=steps)
    while not state.done:
        family.step(engines, [state])
    denoised = time.perf_counter()
    for _ in family.decode(engines, state.latents, lead=None):
        pass
    return state.latents, denoised
