"""A video of several segments is the one of diffusers' pipeline, of the same noise, prompt and steps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engines.building import probes
from engines.errors import CheckpointUnfit
from engines.families.base import Array, ClipFamily, Conditions, Denoising, Frames, PreviewingFamily, TailFamily
from engines.families.buildable import Sizes
from engines.families.capabilities import Canvas
from engines.families.helios.architecture import HISTORY
from engines.families.helios.family import HeliosFamily
from engines.families.history import Before, HistoryPlan
from engines.session import Session
from tests.unit.engines.families.helios.checkpoints import pipeline

SMALL, WIDE = Canvas("1:1", 64, 64), Canvas("2:1", 64, 128)
PROMPT, NEGATIVE, STEPS = "a red cat runs", "blurred", 3
Opened = Callable[[str], tuple[HeliosFamily, Session]]


class Film:
    """A video that grows by a segment at a time, as the Director has it grow: only what plans name or keep is shown."""

    def __init__(self, family: HeliosFamily, session: Session, canvas: Canvas) -> None:
        self.family, self.session, self.canvas = family, session, canvas
        self.text = family.encode_text(session, PROMPT, NEGATIVE)
        self.facts, self.kept = "", dict[int, Array]()
        self.latents: Array = np.zeros((0, 4, canvas.height // 8, canvas.width // 8), np.float32)
        self.tail = self.latents
        self.frames: list[Frames] = []

    def begins_elsewhere(self, anchor: Array, tail: Array) -> None:
        """With latents that were encoded."""
        self.latents, self.tail = np.concatenate([anchor, tail[1:]]), tail

    def planned(self) -> tuple[HistoryPlan, Conditions]:
        plan = self.family.plan_history(PROMPT, Before(self.canvas, len(self.latents), self.facts))
        assert plan.of("newest") == tuple(range(len(self.latents)))[-len(self.tail) :] or not len(self.latents)
        return plan, Conditions(
            self.canvas,
            self.text,
            anchor=self.latents[:1] if plan.of("anchor") else None,
            short=self.tail if plan.of("newest") else None,
            memory=tuple(self.kept[number] for number in plan.of("memory")),
        )

    def begun(self, segment: int, steps: int = STEPS) -> Denoising:
        return self.family.start(self.planned()[1], seed=3, segment=segment, steps=steps)

    def grow(self, segment: int) -> Array:
        """Another segment, and the noise that it began with."""
        plan, _ = self.planned()
        state = self.begun(segment)
        noise = state.latents
        while not state.done:
            self.family.step(self.session, [state])
        before = {number: self.latents[number] for number in range(len(self.latents))}
        allowed = {**self.kept, **dict(list(before.items())[-len(self.tail) :])}
        self.kept = {number: allowed[number] for number in plan.keep}
        self.latents = np.concatenate([self.latents, state.latents])
        self.tail, self.facts = state.latents, plan.facts
        self.frames += self.family.decode(self.session, state.latents, lead=None)
        return noise


def shown_by(torch: Any, made: Any, canvas: Canvas, noises: list[Array], kind: str, **beside: Any) -> Any:
    """What diffusers' pipeline makes of this noise."""
    left = iter(noises)
    made.prepare_latents = lambda *_, **__: torch.from_numpy(np.moveaxis(next(left), 1, 0)[None].copy())
    return made(
        prompt=PROMPT,
        negative_prompt=NEGATIVE,
        height=canvas.height,
        width=canvas.width,
        num_frames=33 * len(noises),
        num_inference_steps=STEPS,
        output_type=kind,
        **beside,
    ).frames[0]


@pytest.mark.parametrize(
    ("kind", "canvas", "segments"), [("shifted", SMALL, 4), ("loud", WIDE, 3), ("euler", SMALL, 2)]
)
def test_a_video_of_several_segments_is_the_one_of_the_pipeline(
    torch: Any, opened: Opened, kind: str, canvas: Canvas, segments: int
) -> None:
    """Four segments are 36 latents, more than the denoiser is ever shown."""
    film = Film(*opened(kind), canvas)
    noises = [film.grow(segment) for segment in range(segments)]
    assert len(film.kept) <= HISTORY - 9

    wanted = shown_by(torch, pipeline(kind), canvas, noises, "latent").numpy()
    found = np.moveaxis(film.latents, 1, 0)
    assert found.shape == wanted.shape
    assert np.abs(found - wanted).max() < 1e-5 * np.abs(wanted).max()
    frames = np.concatenate(film.frames)
    assert frames.shape == (33 * segments, canvas.height, canvas.width, 3)
    assert film.family.capabilities.frames_of(9 * segments, root=True) == len(frames)
    shown = shown_by(torch, pipeline(kind), canvas, noises, "np")
    # The pipeline leaves out the last frames, so that there are 4k + 1.
    assert len(frames) - 4 < len(shown) <= len(frames)
    assert np.abs(frames[: len(shown)] - shown * 255).max() < 1


def test_what_a_chunk_is_shown_has_one_size_and_begins_with_nothing(opened: Opened) -> None:
    film = Film(*opened("shifted"), SMALL)
    assert not film.begun(0).packed["history"].any()
    first = film.grow(0)
    state = film.begun(1)
    history = state.packed["history"]
    assert history.shape == (20, 4, 8, 8)
    np.testing.assert_array_equal(
        history, np.concatenate([film.latents[:1], np.zeros_like(history[:10]), film.latents])
    )
    assert not np.array_equal(state.latents, first)
    assert film.family.batch_key(state) == film.family.batch_key(film.begun(0))
    film.grow(1)
    film.grow(2)
    np.testing.assert_array_equal(film.begun(3).packed["history"][1:], film.latents[-19:])


def test_segments_go_together_and_on_from_a_checkpoint_to_equal_bytes(opened: Opened) -> None:
    """One that begins a video and one that goes on, at other steps: what a checkpoint keeps is all there is."""
    family, session = opened("shifted")
    film = Film(family, session, SMALL)
    film.grow(0)
    whole = film.begun(1, steps=5)
    for _ in range(3):
        family.step(session, [whole])
    latents, memory = whole.latents.copy(), {name: value.copy() for name, value in whole.memory.items()}
    again = film.begun(1, steps=5)
    again.latents, again.memory, again.step = latents, memory, 3
    other = Film(family, session, SMALL).begun(0)
    alone = Film(family, session, SMALL).begun(0)
    family.step(session, [alone])
    family.step(session, [again, other])
    assert isinstance(family, PreviewingFamily)
    assert family.preview(session, again.latents, again.memory).shape == (64, 64, 3)
    np.testing.assert_allclose(other.latents, alone.latents, atol=1e-5)
    again.latents, again.memory, again.step = latents, memory, 3
    for state in (whole, again):
        while not state.done:
            family.step(session, [state])
    np.testing.assert_array_equal(again.latents, whole.latents)
    with pytest.raises(ValueError, match="none of them done"):
        family.step(session, [whole])


def test_a_video_from_elsewhere_goes_on_as_the_pipelines_does(torch: Any, opened: Opened) -> None:
    """Its newest chunks are encoded each for itself, and noised as the pipeline would, which is handed the latents."""
    family, session = opened("shifted")
    assert isinstance(family, TailFamily)
    assert not isinstance(family, ClipFamily)
    frames = np.random.default_rng(2).integers(0, 256, (67, 64, 64, 3)).astype(np.uint8)
    tail = family.encode_tail(session, frames)
    assert len(tail) == HISTORY == family.capabilities.latents_of(67)
    np.testing.assert_array_equal(tail, family.encode_tail(session, frames))
    vae, values = pipeline().vae, torch.from_numpy(frames).float().permute(3, 0, 1, 2)[None] / 127.5 - 1
    with torch.no_grad():
        raw = vae.encode(values[:, :, 34:]).latent_dist.mode()[0].numpy()
    mean, deviation = (np.array(vae.config[name])[:, None, None, None] for name in ("latents_mean", "latents_std"))
    clean = (raw - mean) / deviation
    share = np.corrcoef(np.moveaxis(tail[-9:], 1, 0).ravel(), clean.ravel())[0, 1]
    assert 0.8 < share < 1
    with pytest.raises(ValueError, match="frames: 35"):
        family.encode_video(session, frames[:35])

    film = Film(family, session, SMALL)
    film.begins_elsewhere(family.encode_video(session, frames[:1]), tail)
    noises = [film.grow(1), film.grow(2)]
    wanted = shown_by(
        torch,
        pipeline(),
        SMALL,
        noises,
        "latent",
        image_latents=torch.from_numpy(np.moveaxis(film.latents[:1], 1, 0)[None].copy()),
        video_latents=torch.from_numpy(np.moveaxis(tail, 1, 0)[None].copy()),
        add_noise_to_video_latents=False,
        add_noise_to_image_latents=False,
    ).numpy()
    found = np.moveaxis(film.latents[-18:], 1, 0)
    assert np.abs(found - wanted[:, -18:]).max() < 1e-5 * np.abs(wanted).max()


def test_what_it_lacks_is_refused(opened: Opened, make_checkpoint: Callable[[str], Path]) -> None:
    family, session = opened("shifted")
    can, picture = family.capabilities, np.zeros((64, 64, 3), np.uint8)
    assert (can.first_frame, can.references_max, can.text, can.extension, can.image) == (False, 0, True, True, True)
    text, latent = np.zeros((1024, 24), np.float32), np.zeros((1, 4, 8, 8), np.float32)
    for fields, told in (
        ({"first": latent}, "references, first"),
        ({"references": (latent[0],)}, "references, first"),
        ({"text": text[:512]}, "512 tokens"),
        ({"memory": (latent[0],)}, "has none"),
        ({"anchor": latent}, "the first two"),
        ({"anchor": latent, "short": np.repeat(latent, 20, 0)}, "at most 19"),
    ):
        with pytest.raises(ValueError, match=told):
            family.start(Conditions(SMALL, **({"text": text} | fields)), seed=1, segment=0, steps=2)
    with pytest.raises(ValueError, match="first_frame, references"):
        family.encode_still(session, picture)
    with pytest.raises(ValueError, match="references"):
        family.read_reference(picture)


def test_it_is_verified_through_a_root_and_an_extension(opened: Opened) -> None:
    family, session = opened("shifted")
    for canvas in family.probe_canvases:
        made = probes.end_to_end(family, session, canvas)
        assert {name: len(values) for name, values in made.items()} == {"root": 9, "extension": 9, "frames": 33}
    named = {case.component for case in family.cases()}
    assert named == set(family.components) == set(family.graphs(family.weights))


def test_sizes_that_it_cannot_make_are_told(make_checkpoint: Callable[[str], Path]) -> None:
    from engines import models
    from engines.checkpoints.files import Folder

    files = Folder(make_checkpoint("shifted"))
    for sizes, told in (
        (Sizes(seconds=2), "a segment of this model has 33 frames"),
        (Sizes((Canvas("16:9", 144, 256),)), "height of 64"),
        (Sizes((SMALL, SMALL)), "two of one aspect ratio"),
    ):
        with pytest.raises(CheckpointUnfit, match=told):
            models.opened(files, name="helios", sizes=sizes)
    assert models.opened(files, name="helios").family.capabilities.canvases == (Canvas("16:9", 384, 640),)


def test_frames_and_latents_of_a_video_are_counted_by_its_chunks(opened: Opened) -> None:
    can = opened("shifted")[0].capabilities
    assert [can.frames_of(latents, root=False) for latents in (1, 2, 9, 10, 18, 20)] == [1, 5, 33, 34, 66, 71]
    for latents in range(1, 60):
        frames, further = (can.frames_of(count, root=True) for count in (latents, latents + 1))
        assert {can.latents_of(count) for count in range(frames, further)} == {latents}


@pytest.mark.parametrize("kind", ["shifted", "loud"])
def test_in_half_its_denoiser_computes_nearly_the_same(torch: Any, opened: Opened, kind: str) -> None:
    """What stays in float32, the loudness of history among it, meets what is in half."""
    from engines.building.half import halved

    family, _ = opened(kind)
    graph = family.graphs(family.weights)["dit"]
    with torch.no_grad():
        whole = graph.module(*graph.example_inputs)
        half = halved(graph, "bfloat16")
        found = half.module(*half.example_inputs)
    assert float((found.float() - whole).abs().max()) < 0.05 * float(whole.abs().max())
