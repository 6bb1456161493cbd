"""A VACE checkpoint through the family is the pipeline that it was saved from: the same pictures, the same latents."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
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
from engines.families.wan.vace import WanVaceFamily
from engines.session import Session
from tests.unit.engines.families.wan.modules import session_of

CANVASES = (Canvas("1:1", 32, 32), Canvas("3:2", 32, 48))
LATENTS, FRAMES = 9, 33
"""Of two seconds."""
LEAD, OVERLAP = 5, 17
"""Of the second with which an extension's clip begins."""
STEPS = 4


@pytest.fixture(scope="module")
def family(make_checkpoint: Callable[[str], Path]) -> WanVaceFamily:
    """The tiny checkpoint's, on canvases of its size."""
    found = models.opened(Folder(make_checkpoint("vace")), name="vace-tiny", sizes=Sizes(CANVASES, seconds=2)).family
    assert isinstance(found, WanVaceFamily)
    assert isinstance(found, ClipFamily)
    return found


@pytest.fixture(scope="module")
def session(family: WanVaceFamily) -> Iterator[Session]:
    """Its modules as engines."""
    with session_of(family) as session:
        yield session


def noise(canvas: Canvas, count: int, seed: int = 0) -> Frames:
    """Pictures."""
    return np.random.default_rng(seed).integers(0, 256, (count, canvas.height, canvas.width, 3)).astype(np.uint8)


def pictures(canvas: Canvas, count: int) -> Frames:
    """To refer to, no two alike."""
    return noise(canvas, count, seed=1)


def begin(
    family: WanVaceFamily,
    session: Session,
    canvas: Canvas,
    *,
    first: Frames | None = None,
    references: int = 0,
    image: bool = False,
    seed: int = 3,
) -> Denoising:
    conditions = Conditions(
        canvas,
        family.encode_text(session, "a red cat runs", "blurred"),
        tuple(family.encode_still(session, picture) for picture in pictures(canvas, references)),
        first=None if first is None else family.encode_clip(session, first[None]),
        blank=family.encode_clip(session, noise(canvas, 0)),
        image=image,
    )
    return family.start(conditions, seed=seed, segment=0, steps=STEPS)


def made(family: WanVaceFamily, session: Session, state: Denoising) -> Array:
    while not state.done:
        family.step(session, [state])
    return state.latents


@pytest.mark.parametrize(
    ("canvas", "opened", "references"),
    [
        (CANVASES[0], False, 0),
        (CANVASES[1], True, 0),
        (CANVASES[0], False, 1),
        (CANVASES[1], False, 3),
        (CANVASES[0], True, 2),
    ],
    ids=["text", "a first frame", "a reference", "three references", "first frame and references"],
)
def test_a_video_is_the_one_of_the_pipeline(
    torch: Any,
    family: WanVaceFamily,
    session: Session,
    make_pipeline: Callable[[str], Any],
    canvas: Canvas,
    opened: bool,
    references: int,
) -> None:
    first = noise(canvas, 1)[0] if opened else None
    state = begin(family, session, canvas, first=first, references=references)
    pipeline, asked = make_pipeline("vace"), _asked(torch, canvas, state, noise(canvas, 1)[:opened])
    pipeline.set_progress_bar_config(disable=True)
    wanted = pipeline(**asked, output_type="latent").frames[0].numpy()
    found = made(family, session, state)
    assert np.abs(np.moveaxis(found, 1, 0) - wanted).max() < 1e-5 * np.abs(wanted).max()
    frames = np.concatenate(list(family.decode(session, found[state.beside :], lead=None)))
    shown = pipeline(**asked, output_type="np").frames[0]
    assert frames.shape == shown.shape == (FRAMES, canvas.height, canvas.width, 3)
    assert np.abs(frames - shown * 255).max() < 1


def _asked(torch: Any, canvas: Canvas, state: Denoising, known: Frames) -> dict[str, Any]:
    """The same of the pipeline: video and mask in 0..1, where 0.5 is the grey that it means by unknown."""
    from PIL import Image

    video = np.full((1, FRAMES, canvas.height, canvas.width, 3), 0.5, np.float32)
    mask = np.ones_like(video)
    video[0, : len(known)], mask[0, : len(known)] = known.astype(np.float32) / 255, 0
    return {
        "prompt": "a red cat runs",
        "negative_prompt": "blurred",
        "height": canvas.height,
        "width": canvas.width,
        "num_frames": FRAMES,
        "num_inference_steps": STEPS,
        "guidance_scale": 5.0,
        "latents": torch.from_numpy(np.moveaxis(state.latents, 1, 0)[None].copy()),
        **({"video": video, "mask": mask} if len(known) else {}),
        "reference_images": [Image.fromarray(picture) for picture in pictures(canvas, state.beside)] or None,
    }


@pytest.mark.parametrize(("references", "keyframes"), [(0, 0), (2, 0), (1, 2)])
def test_an_extension_is_the_pipelines_clip_that_begins_with_the_last_second(
    torch: Any,
    family: WanVaceFamily,
    session: Session,
    make_pipeline: Callable[[str], Any],
    references: int,
    keyframes: int,
) -> None:
    canvas = CANVASES[1]
    root = np.random.default_rng(2).standard_normal((LATENTS, 4, 4, 6), dtype=np.float32)
    known = np.concatenate(list(family.decode(session, root, lead=None)))[-OVERLAP:]
    conditions = Conditions(
        canvas,
        family.encode_text(session, "a red cat runs", "blurred"),
        tuple(family.encode_still(session, picture) for picture in pictures(canvas, references)),
        anchor=root[:1],
        short=family.encode_continued(session, root),
        blank=family.encode_clip(session, noise(canvas, 0)),
        memory=tuple(np.random.default_rng(4).standard_normal((keyframes, 4, 4, 6), dtype=np.float32)),
    )
    assert conditions.short is not None
    np.testing.assert_array_equal(conditions.short, family.encode_clip(session, known))
    state = family.start(conditions, seed=3, segment=1, steps=STEPS)
    beside = keyframes + 1 + references
    assert (state.beside, state.lead, len(state.latents)) == (beside, LEAD, beside + LATENTS)

    pipeline, asked = make_pipeline("vace"), _asked(torch, canvas, state, known)
    pipeline.set_progress_bar_config(disable=True)
    encode = pipeline.prepare_video_latents

    def with_stills(*args: Any, **fields: Any) -> Any:
        """The last pictures lie first: in their place what are no pictures any more."""
        found = encode(*args, **fields)
        for place, still in enumerate((*conditions.memory, root[0])):
            found[:, :4, place] = torch.from_numpy(still)
        return found

    pipeline.prepare_video_latents = with_stills
    wanted = pipeline(**asked, output_type="latent").frames[0].numpy()
    found = made(family, session, state)
    assert np.abs(np.moveaxis(found, 1, 0) - wanted).max() < 1e-5 * np.abs(wanted).max()
    lead, own = np.split(found[state.beside :], [LEAD])
    assert len(own) == family.capabilities.segment_latents
    frames = np.concatenate(list(family.decode(session, own, lead=lead)))
    shown = pipeline(**asked, output_type="np").frames[0][OVERLAP:]
    assert frames.shape == shown.shape == (FRAMES - OVERLAP, canvas.height, canvas.width, 3)
    assert np.abs(frames - shown * 255).max() < 1


@pytest.mark.parametrize(("canvas", "references"), [(CANVASES[0], 0), (CANVASES[1], 1)])
def test_an_image_is_the_pipelines_video_of_one_frame(
    torch: Any,
    family: WanVaceFamily,
    session: Session,
    make_pipeline: Callable[[str], Any],
    canvas: Canvas,
    references: int,
) -> None:
    """With one reference: its mask has no room for more of them than the video has latents."""
    state = begin(family, session, canvas, references=references, image=True)
    assert len(state.latents) == references + 1
    pipeline, asked = make_pipeline("vace"), {**_asked(torch, canvas, state, noise(canvas, 0)), "num_frames": 1}
    pipeline.set_progress_bar_config(disable=True)
    wanted = pipeline(**asked, output_type="latent").frames[0].numpy()
    found = made(family, session, state)
    assert np.abs(np.moveaxis(found, 1, 0) - wanted).max() < 1e-5 * np.abs(wanted).max()
    before = session.usage["vae_decoder_step"].calls
    (frame,) = np.concatenate(list(family.decode(session, found[state.beside :], lead=None)))
    shown = pipeline(**asked, output_type="np").frames[0]
    assert np.abs(frame - shown[0] * 255).max() < 1
    assert session.usage["vae_decoder_step"].calls == before


@pytest.mark.parametrize("canvas", CANVASES, ids=lambda canvas: canvas.aspect_ratio)
def test_videos_that_are_made_together_are_each_the_pipelines(
    torch: Any, family: WanVaceFamily, session: Session, make_pipeline: Callable[[str], Any], canvas: Canvas
) -> None:
    """Of equal size: with and without a first frame."""
    firsts = (None, noise(canvas, 1)[0], None)
    together = [begin(family, session, canvas, first=first, seed=seed) for seed, first in enumerate(firsts)]
    pipeline = make_pipeline("vace")
    pipeline.set_progress_bar_config(disable=True)
    asked = [
        _asked(torch, canvas, state, noise(canvas, 1)[: first is not None])
        for state, first in zip(together, firsts, strict=True)
    ]
    while not together[0].done:
        family.step(session, together)
    for state, one in zip(together, asked, strict=True):
        wanted = pipeline(**one, output_type="latent").frames[0].numpy()
        assert np.abs(np.moveaxis(state.latents, 1, 0) - wanted).max() < 1e-5 * np.abs(wanted).max()


def test_a_plan_names_no_more_than_is_taken(family: WanVaceFamily) -> None:
    """What the plan counts is what lies in the sequence: tokens of four latents on this canvas."""
    before = Before(CANVASES[1], LATENTS, family.plan_history("a cat", Before(CANVASES[1])).facts)
    for _ in range(6):
        plan = family.plan_history("a cat", before)
        before = replace(before, latents=before.latents + LATENTS - LEAD, facts=plan.facts)
    assert {source.kind: source.tokens for source in plan.sources} == {"memory": 6, "anchor": 6, "newest": 6 * LEAD}
    assert len(plan.of("memory")) == 3


def test_what_follows_an_extension_follows_from_all_of_its_clip(family: WanVaceFamily, session: Session) -> None:
    """Decoded behind its own lead, and so its newest frames are those that were shown."""
    clip = np.random.default_rng(2).standard_normal((LATENTS, 4, 4, 4), dtype=np.float32)
    shown = np.concatenate(list(family.decode(session, clip[LEAD:], lead=clip[:LEAD])))
    assert (family.history_latents, family.lead_latents) == (LATENTS, LEAD)
    known = np.concatenate(list(family.decode(session, clip, lead=None)))[-OVERLAP:]
    np.testing.assert_array_equal(known[1:], shown)
    np.testing.assert_array_equal(family.encode_continued(session, clip), family.encode_clip(session, known))


def test_a_video_from_elsewhere_is_gone_on_with_from_its_last_second(family: WanVaceFamily, session: Session) -> None:
    frames = noise(CANVASES[0], 40)
    np.testing.assert_array_equal(family.encode_tail(session, frames), family.encode_video(session, frames[-OVERLAP:]))
    padded = np.concatenate([np.repeat(frames[:1], 8, axis=0), frames[:9]])
    np.testing.assert_array_equal(family.encode_tail(session, frames[:9]), family.encode_video(session, padded))


@pytest.mark.parametrize(("seconds", "extends"), [(1, None), (2, 1), (5, 4), (30, 29)])
def test_an_extension_is_a_second_shorter_than_its_clip(
    make_checkpoint: Callable[[str], Path], seconds: int, extends: int | None
) -> None:
    sizes = Sizes(CANVASES, seconds)
    can = models.opened(Folder(make_checkpoint("vace")), name="vace-tiny", sizes=sizes).family.capabilities
    assert can.extension == (extends is not None)
    assert can.root_latents == 1 + 4 * seconds
    if extends:
        assert (can.segment_latents, can.extension_seconds.default) == (4 * extends, extends)


def test_a_first_frame_makes_another_video(family: WanVaceFamily, session: Session) -> None:
    picture, other = noise(CANVASES[0], 2)
    found = [
        made(family, session, begin(family, session, CANVASES[0], first=first)) for first in (None, picture, other)
    ]
    for one, another in ((0, 1), (1, 2)):
        assert np.abs(found[one] - found[another]).max() > 1e-3


def test_a_reference_leaves_the_videos_noise_as_it_is(family: WanVaceFamily, session: Session) -> None:
    plain, referring = (begin(family, session, CANVASES[0], references=count) for count in (0, 2))
    assert (plain.beside, referring.beside) == (0, 2)
    assert len(referring.latents) == LATENTS + 2
    np.testing.assert_array_equal(plain.latents, referring.latents[2:])
    assert family.batch_key(plain) != family.batch_key(referring)


def test_states_with_and_without_a_first_frame_go_together(family: WanVaceFamily, session: Session) -> None:
    firsts = (None, noise(CANVASES[1], 1)[0])
    together = [begin(family, session, CANVASES[1], first=first) for first in firsts]
    assert len({family.batch_key(state) for state in together}) == 1
    while not together[0].done:
        family.step(session, together)
    for first, found in zip(firsts, together, strict=True):
        wanted = made(family, session, begin(family, session, CANVASES[1], first=first))
        np.testing.assert_allclose(found.latents, wanted, rtol=0, atol=1e-4)


def test_a_state_goes_on_from_latents_step_and_memory_to_the_same_bytes(
    family: WanVaceFamily, session: Session
) -> None:
    first = noise(CANVASES[0], 1)[0]
    whole = begin(family, session, CANVASES[0], first=first, references=1)
    for _ in range(STEPS // 2):
        family.step(session, [whole])
    again = begin(family, session, CANVASES[0], first=first, references=1)
    again.latents, again.step, again.memory = whole.latents, whole.step, whole.memory
    np.testing.assert_array_equal(made(family, session, again), made(family, session, whole))


def test_a_video_is_encoded_as_by_the_pipelines_vae(
    torch: Any, family: WanVaceFamily, session: Session, make_pipeline: Callable[[str], Any]
) -> None:
    frames = noise(CANVASES[1], 9)
    vae = make_pipeline("vace").vae
    given = torch.from_numpy(np.moveaxis(frames.astype(np.float32) / 127.5 - 1, -1, 0)[None].copy())
    with torch.no_grad():
        raw = vae.encode(given).latent_dist.mode()[0].numpy()
    shape = (-1, 1, 1, 1)
    wanted = (raw - np.reshape(vae.config.latents_mean, shape)) / np.reshape(vae.config.latents_std, shape)
    found = family.encode_video(session, frames)
    np.testing.assert_allclose(np.moveaxis(found, 1, 0), wanted, rtol=0, atol=1e-5)
    np.testing.assert_array_equal(family.encode_still(session, frames[0]), found[0])


def test_what_does_not_fit_a_clip_is_refused(family: WanVaceFamily, session: Session) -> None:
    canvas = CANVASES[0]
    text = np.zeros((1024, 24), np.float32)
    clip, short = np.zeros((LATENTS, 4, 4, 4), np.float32), np.zeros((1, 4, 4, 4), np.float32)
    for refused in (
        lambda: family.encode_clip(session, noise(canvas, FRAMES + 1)),
        lambda: family.encode_video(session, noise(canvas, 4)),
        lambda: family.encode_video(session, noise(canvas, 0)),
        lambda: family.start(Conditions(canvas, text), seed=1, segment=0, steps=2),
        lambda: family.start(Conditions(canvas, text, first=clip), seed=1, segment=0, steps=2),
        lambda: family.start(Conditions(canvas, text, first=short, blank=clip), seed=1, segment=0, steps=2),
        lambda: family.start(Conditions(canvas, text, (short[0],) * 4, blank=clip), seed=1, segment=0, steps=2),
        lambda: family.start(Conditions(canvas, text, anchor=short, blank=clip), seed=1, segment=1, steps=2),
        lambda: family.start(Conditions(canvas, text, short=clip, blank=clip), seed=1, segment=1, steps=2),
        lambda: family.start(Conditions(canvas, text, first=clip, blank=clip, image=True), seed=1, segment=0, steps=2),
        lambda: family.start(Conditions(canvas, text, blank=clip, memory=(short[0],)), seed=1, segment=0, steps=2),
        lambda: family.start(
            Conditions(canvas, text, (short[0],), anchor=short, short=clip, blank=clip, memory=(short[0],) * 3),
            seed=1,
            segment=1,
            steps=2,
        ),
        lambda: family.start(
            Conditions(canvas, text, first=clip, anchor=short, short=clip, blank=clip), seed=1, segment=1, steps=2
        ),
    ):
        with pytest.raises(ValueError, match=":"):
            refused()


def test_random_inputs_fit_every_component_and_whole_runs_take_all_of_them(
    family: WanVaceFamily, session: Session
) -> None:
    cases = list(family.cases())
    assert {case.component for case in cases} == set(family.components)
    for case in cases:
        assert all(np.isfinite(value).all() for value in session.infer(case.component, case.inputs).values())
    before = session.usage
    found = probes.end_to_end(family, session, family.probe_canvases[0])
    wanted = {"root": LATENTS, "extension": LATENTS - LEAD, "frames": FRAMES - OVERLAP}
    assert {name: len(values) for name, values in found.items()} == wanted
    unused = {component for component, used in session.usage.items() if used.calls == before[component].calls}
    assert unused == {"preview"}, "which changes nothing of what is made"
