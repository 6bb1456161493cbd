"""A video that begins with a given frame is the one of the pipeline; so is an extension, of the last frame."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engines import models
from engines.building import probes
from engines.checkpoints.files import Folder
from engines.families.base import Array, ClipFamily, Conditions, Denoising, Frames
from engines.families.buildable import Sizes
from engines.families.capabilities import Canvas
from engines.families.history import Before
from engines.families.wan.clips import WanClipFamily
from engines.session import Session
from tests.unit.engines.families.wan.modules import session_of

CANVASES = (Canvas("1:1", 32, 32), Canvas("3:2", 32, 48))
CANVASES_OF = {
    "image": CANVASES,
    "two of image": CANVASES,
    "5b": (Canvas("1:1", 64, 64), Canvas("3:2", 64, 96)),
}
SHOWN_BY = {"5b": "5b of image"}
"""The pipeline that takes a first frame, where the checkpoint is another's."""
GUIDED = {"two of image": 3.5}
FRAMES_OF = {"image": 17, "two of image": 17, "5b": 25}
"""Of a second."""
PROMPT, NEGATIVE, STEPS = "a red cat runs", "blurred", 4

Opened = tuple[WanClipFamily, Session]


@pytest.fixture(scope="module")
def opened(make_checkpoint: Callable[[str], Path]) -> Iterator[Callable[[str], Opened]]:
    """Of a tiny checkpoint the family, on canvases of its size, and its modules as engines."""
    found = dict[str, Opened]()
    with ExitStack() as stack:

        def make(task: str) -> Opened:
            if task not in found:
                sizes = Sizes(CANVASES_OF[task], seconds=1)
                family = models.opened(Folder(make_checkpoint(task)), name="wan-tiny", sizes=sizes).family
                assert isinstance(family, WanClipFamily)
                assert isinstance(family, ClipFamily)
                found[task] = family, stack.enter_context(session_of(family))
            return found[task]

        yield make


def picture(canvas: Canvas, seed: int = 0) -> Frames:
    return np.random.default_rng(seed).integers(0, 256, (canvas.height, canvas.width, 3)).astype(np.uint8)


def begin(opened: Opened, canvas: Canvas, shown: Array | None, *, extends: bool = False, seed: int = 3) -> Denoising:
    family, session = opened
    text = family.encode_text(session, PROMPT, NEGATIVE)
    conditions = Conditions(canvas, text, **{"short" if extends else "first": shown})  # type: ignore[arg-type]
    return family.start(conditions, seed=seed, segment=int(extends), steps=STEPS)


def finished(opened: Opened, *states: Denoising) -> list[Array]:
    family, session = opened
    while not states[0].done:
        family.step(session, states)
    return [state.latents for state in states]


class Pipeline:
    """What diffusers makes of a picture and the noise of a state."""

    def __init__(self, torch: Any, pipeline: Any, task: str) -> None:
        self._torch, self._pipeline, self._task = torch, pipeline, task

    def __call__(self, first: Frames, noise: Array, kind: str) -> Any:
        from PIL import Image

        return self._pipeline(
            image=Image.fromarray(first),
            prompt=PROMPT,
            negative_prompt=NEGATIVE,
            height=first.shape[0],
            width=first.shape[1],
            num_frames=FRAMES_OF[self._task],
            num_inference_steps=STEPS,
            guidance_scale=GUIDED.get(self._task, 5.0),
            latents=self._torch.from_numpy(np.moveaxis(noise, 1, 0)[None].copy()),
            output_type=kind,
        ).frames[0]


@pytest.fixture
def shown_by(torch: Any, make_pipeline: Callable[[str], Any]) -> Callable[[str], Pipeline]:
    return lambda task: Pipeline(torch, make_pipeline(SHOWN_BY.get(task, task)), task)


@pytest.mark.parametrize("task", CANVASES_OF)
@pytest.mark.parametrize("size", [0, 1])
def test_a_video_is_the_one_of_the_pipeline(
    opened: Callable[[str], Opened], shown_by: Callable[[str], Pipeline], task: str, size: int
) -> None:
    (family, session), canvas, pipeline = opened(task), CANVASES_OF[task][size], shown_by(task)
    first = picture(canvas)
    state = begin(opened(task), canvas, family.encode_clip(session, first[None]))
    noise = state.latents
    wanted = pipeline(first, noise, "latent").numpy()

    (found,) = finished(opened(task), state)

    assert np.abs(np.moveaxis(found, 1, 0) - wanted).max() < 1e-5 * np.abs(wanted).max()
    frames = np.concatenate(list(family.decode(session, found, lead=None)))
    shown = pipeline(first, noise, "np")
    assert frames.shape == shown.shape == (FRAMES_OF[task], canvas.height, canvas.width, 3)
    assert np.abs(frames - shown * 255).max() < 1


@pytest.mark.parametrize("task", CANVASES_OF)
def test_an_extension_is_the_pipelines_video_of_the_last_frame(
    opened: Callable[[str], Opened], shown_by: Callable[[str], Pipeline], task: str
) -> None:
    (family, session), canvas, pipeline = opened(task), CANVASES_OF[task][1], shown_by(task)
    root = begin(opened(task), canvas, family.encode_clip(session, picture(canvas)[None])).latents
    assert len(root) == family.history_latents
    last = np.concatenate(list(family.decode(session, root, lead=None)))[-1]
    state = begin(opened(task), canvas, family.encode_continued(session, root), extends=True)
    assert (state.lead, len(state.latents)) == (1, 1 + family.capabilities.segment_latents)
    noise = state.latents

    (found,) = finished(opened(task), state)

    wanted = pipeline(last, noise, "latent").numpy()
    assert np.abs(np.moveaxis(found, 1, 0) - wanted).max() < 1e-5 * np.abs(wanted).max()
    lead, own = np.split(found, [state.lead])
    frames = np.concatenate(list(family.decode(session, own, lead=lead)))
    shown = pipeline(last, noise, "np")[1:]
    assert frames.shape == shown.shape
    assert np.abs(frames - shown * 255).max() < 1
    # And the one after it begins with the last frame of all.
    further = family.encode_continued(session, found[-family.history_latents :])
    np.testing.assert_array_equal(further, family.encode_clip(session, frames[-1:]))


@pytest.mark.parametrize("task", CANVASES_OF)
def test_videos_that_are_made_together_are_each_their_own(
    opened: Callable[[str], Opened], shown_by: Callable[[str], Pipeline], task: str
) -> None:
    """Of other first frames; of Wan 2.2's 5B one has none."""
    (family, session), canvas, pipeline = opened(task), CANVASES_OF[task][0], shown_by(task)
    firsts = [picture(canvas, seed) for seed in (1, 2)]
    states = [
        begin(opened(task), canvas, family.encode_clip(session, first[None]), seed=seed)
        for seed, first in enumerate(firsts)
    ]
    if task == "5b":
        states.append(begin(opened(task), canvas, None, seed=3))
    noise = [state.latents for state in states]
    found = finished(opened(task), *states)
    for first, begun, made in zip(firsts, noise, found, strict=False):
        wanted = pipeline(first, begun, "latent").numpy()
        assert np.abs(np.moveaxis(made, 1, 0) - wanted).max() < 1e-5 * np.abs(wanted).max()
    if task == "5b":
        (alone,) = finished(opened(task), begin(opened(task), canvas, None, seed=3))
        np.testing.assert_allclose(found[2], alone, rtol=0, atol=1e-5 * np.abs(alone).max())


@pytest.mark.parametrize("task", CANVASES_OF)
def test_a_state_goes_on_from_latents_step_and_memory_to_the_same_bytes(
    opened: Callable[[str], Opened], task: str
) -> None:
    (family, session), canvas = opened(task), CANVASES_OF[task][1]
    clip = family.encode_clip(session, picture(canvas)[None])
    whole, again = (begin(opened(task), canvas, clip) for _ in range(2))
    family.step(session, [whole])
    again.latents, again.step, again.memory = whole.latents, whole.step, whole.memory
    one, other = (finished(opened(task), state)[0] for state in (whole, again))
    np.testing.assert_array_equal(one, other)
    if task == "5b":
        np.testing.assert_array_equal(one[:1], clip)


@pytest.mark.parametrize("task", CANVASES_OF)
def test_its_plan_is_the_last_latent_alone_and_whole_runs_go_by_it(opened: Callable[[str], Opened], task: str) -> None:
    family, session = opened(task)
    canvas = CANVASES_OF[task][0]
    assert family.plan_history(PROMPT, Before(canvas)).sources == ()
    plan = family.plan_history(PROMPT, Before(canvas, 5))
    assert [(source.kind, source.numbers, source.tokens) for source in plan.sources] == [("newest", (4,), 4)]
    made = probes.end_to_end(family, session, canvas)
    assert made["frames"].shape == (FRAMES_OF[task] - 1, canvas.height, canvas.width, 3)
    assert not np.array_equal(made["root"][-1], made["extension"][-1])


@pytest.mark.parametrize("task", CANVASES_OF)
def test_random_inputs_fit_every_component(opened: Callable[[str], Opened], task: str) -> None:
    family, session = opened(task)
    cases = list(family.cases())
    assert {case.component for case in cases} == set(family.components)
    for case in cases:
        assert all(np.isfinite(value).all() for value in session.infer(case.component, case.inputs).values())


@pytest.mark.parametrize("task", CANVASES_OF)
def test_a_video_from_elsewhere_is_gone_on_with_from_its_last_frame(opened: Callable[[str], Opened], task: str) -> None:
    (family, session), canvas = opened(task), CANVASES_OF[task][0]
    film = np.stack([picture(canvas, seed) for seed in range(6)])
    tail = family.encode_tail(session, film)
    np.testing.assert_array_equal(tail, family.encode_video(session, film[-1:]))
    shown = next(iter(family.decode(session, tail, lead=None)))
    np.testing.assert_array_equal(family.encode_continued(session, tail), family.encode_clip(session, shown))


def test_a_picture_is_seen_as_by_the_checkpoints_own_processor(
    opened: Callable[[str], Opened], make_pipeline: Callable[[str], Any]
) -> None:
    """The middle of it, of whatever shape."""
    from PIL import Image

    sight, processor = opened("image")[0].architecture.sight, make_pipeline("image").image_processor
    assert sight is not None
    for height, width in ((28, 28), (480, 832), (61, 40), (33, 200), (20, 21)):
        shown = picture(Canvas("1:1", height, width))
        wanted = np.asarray(processor(images=Image.fromarray(shown), return_tensors="np")["pixel_values"][0])
        np.testing.assert_allclose(sight.pixels(shown), wanted, rtol=0, atol=1e-5)


@pytest.mark.parametrize("task", CANVASES_OF)
def test_what_the_checkpoint_does_not_take_is_refused(opened: Callable[[str], Opened], task: str) -> None:
    (family, session), canvas = opened(task), CANVASES_OF[task][0]
    clip, text = family.encode_clip(session, picture(canvas)[None]), family.encode_text(session, PROMPT)
    shown = {"canvas": canvas, "text": text, "first": clip}
    refused: list[dict[str, Any]] = [
        {**shown, "references": (clip[0],)},
        {**shown, "memory": (clip[0],)},
        {**shown, "anchor": clip[:1]},
        {**shown, "image": True},
        {**shown, "first": np.concatenate([clip, clip])[: len(clip) - 1 or 2]},
    ]
    if task != "5b":
        refused.append({**shown, "first": None})
    for fields in refused:
        with pytest.raises(ValueError, match=r": .*(first frame|one latent|clip)"):
            family.start(Conditions(**fields), seed=1, segment=0, steps=2)
    for known in (0, 2):
        with pytest.raises(ValueError, match=f"known: {known} frames"):
            family.encode_clip(session, np.repeat(picture(canvas)[None], known, 0))
    with pytest.raises(ValueError, match="references: this checkpoint takes none"):
        family.read_reference(picture(canvas))
