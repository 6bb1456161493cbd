"""The sprite family against its interface, on the shipped engines."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from engines.families.base import Array, Conditions, Denoising, Family, Frames
from engines.families.capabilities import Canvas
from engines.families.history import Before
from engines.families.sprite import world
from engines.families.sprite.capabilities import CAPABILITIES
from engines.families.sprite.family import SpriteFamily
from engines.session import Session

BEFORE = Before(Canvas("16:9", 64, 112))

CANVASES = pytest.mark.parametrize("canvas", CAPABILITIES.canvases, ids=lambda canvas: canvas.aspect_ratio)


@pytest.fixture
def family() -> Family:
    return SpriteFamily()


@pytest.fixture
def text(shipped: Session) -> Array:
    return shipped.family.encode_text(shipped, "a red circle moves left over a grey background top")


def test_a_prompt_is_read_and_completed_from_the_seed(family: Family) -> None:
    reading = family.read_prompt("A crimson ball drifts left", before=BEFORE, seed=3)
    again = family.read_prompt("A crimson ball drifts left", before=BEFORE, seed=3)
    assert reading == again
    assert reading.effective_prompts[0].startswith("a red circle moves left over a ")
    assert "colour: red (crimson)" in reading.understood
    assert not reading.warnings


@pytest.mark.parametrize("prompt", ["", "   ", "Ωmega 猫 🙂", "quarterly figures", "\x00" * 50, "x" * 10_000])
def test_a_prompt_with_nothing_understood_still_makes_a_scene_and_says_so(family: Family, prompt: str) -> None:
    reading = family.read_prompt(prompt, before=BEFORE, seed=5)
    assert reading.effective_prompts[0].startswith("a ")
    if not reading.understood:
        assert "drawn from the seed" in reading.warnings[0]


def test_the_largest_seeds_are_told_apart(family: Family) -> None:
    prompts = {family.read_prompt("", before=BEFORE, seed=2**64 - 1 - n).effective_prompts[0] for n in range(8)}
    assert len(prompts) > 4


def test_what_the_prompt_says_of_a_given_frame_is_told_as_not_followed(family: Family) -> None:
    reading = family.read_prompt("a green square moves up", before=BEFORE, subject="frame", seed=1)
    assert reading.effective_prompts[0] == "it moves up"
    assert any("colour" in warning for warning in reading.warnings)


def test_an_extension_keeps_what_its_video_shows(family: Family) -> None:
    inherited = "a red circle moves left over a grey background top"
    reading = family.read_prompt("now in blue, moving up", before=BEFORE, seed=1, inherited=inherited)
    assert reading.effective_prompts[0] == inherited
    assert {"not followed: colour: blue (kept: red)", "not followed: direction: up (kept: left)"} <= set(
        reading.warnings
    )


def test_every_effective_prompt_can_be_encoded(family: Family, shipped: Session) -> None:
    for seed in range(20):
        for subject in ("named", "reference", "frame"):
            prompt = family.read_prompt("", before=BEFORE, subject=subject, seed=seed).effective_prompts[0]
            assert family.encode_text(shipped, prompt).shape == (14, 128)


def test_a_detailed_picture_is_read_with_a_warning(family: Family) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (world.SPRITE_PX, world.SPRITE_PX, 3)).astype(np.uint8)
    reading = family.read_reference(noise)
    assert reading.picture.shape == (32, 32, 3)
    assert reading.warning is not None
    assert reading.description in reading.warning


def test_a_drawing_in_the_palette_is_read_without_a_warning(family: Family) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (world.SPRITE_PX, world.SPRITE_PX, 3)).astype(np.uint8)
    clean = family.read_reference(noise).picture
    again = family.read_reference(clean)
    np.testing.assert_array_equal(again.picture, clean)
    assert again.warning is None


@CANVASES
def test_a_root_has_seventeen_frames_and_an_extension_sixteen(
    family: Family, shipped: Session, text: Array, canvas: Canvas
) -> None:
    root = _run(family, shipped, family.start(Conditions(canvas, text), seed=1, segment=0, steps=2))
    assert root.shape == (5, 16, canvas.height // 8, canvas.width // 8)
    frames = list(family.decode(shipped, root, lead=None))
    assert [len(group) for group in frames] == [1, 4, 4, 4, 4]
    assert all(group.shape[1:] == (canvas.height, canvas.width, 3) and group.dtype == np.uint8 for group in frames)
    conditions = Conditions(canvas, text, anchor=root[:1], short=root[-2:])
    further = _run(family, shipped, family.start(conditions, seed=1, segment=1, steps=2))
    assert [len(group) for group in family.decode(shipped, further, lead=root[-1:])] == [4, 4, 4, 4]


def test_segments_decoded_apart_are_the_whole_decoded_at_once(family: Family, shipped: Session) -> None:
    latents = np.random.default_rng(1).standard_normal((9, 16, 8, 14), dtype=np.float32)
    whole = _frames(family, shipped, latents, None)
    parts = [_frames(family, shipped, latents[:5], None), _frames(family, shipped, latents[5:], latents[4:5])]
    np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_noise_is_drawn_from_seed_and_segment_alone(family: Family, text: Array) -> None:
    conditions = Conditions(CAPABILITIES.canvases[0], text)
    first = family.start(conditions, seed=1, segment=0, steps=8)
    same = family.start(replace(conditions, text=text + 1), seed=1, segment=0, steps=4)
    np.testing.assert_array_equal(first.latents, same.latents)
    for seed, segment in ((2, 0), (1, 1), (2**64 - 1, 0)):
        other = family.start(conditions, seed=seed, segment=segment, steps=8)
        assert not np.array_equal(first.latents, other.latents)


def test_a_run_goes_on_from_where_its_state_was_kept(family: Family, shipped: Session, text: Array) -> None:
    conditions = Conditions(CAPABILITIES.canvases[0], text)
    whole = _run(family, shipped, family.start(conditions, seed=1, segment=0, steps=3))
    begun = family.start(conditions, seed=1, segment=0, steps=3)
    family.step(shipped, [begun])
    resumed = family.start(conditions, seed=1, segment=0, steps=3)
    resumed.latents, resumed.step = begun.latents.copy(), begun.step
    np.testing.assert_array_equal(_run(family, shipped, resumed), whole)


@CANVASES
def test_steps_of_several_jobs_at_once_give_the_same_bits_as_one_by_one(
    family: Family, shipped: Session, text: Array, canvas: Canvas
) -> None:
    """Each at its own time. What a segment becomes must not depend on whose steps ran beside its own."""

    def states() -> list[Denoising]:
        begun = [family.start(Conditions(canvas, text), seed=seed, segment=0, steps=6) for seed in range(4)]
        for number, state in enumerate(begun):
            for _ in range(number):
                family.step(shipped, [state])
        return begun

    together, alone = states(), states()
    assert len({family.batch_key(state) for state in together}) == 1
    family.step(shipped, together)
    for state, single in zip(together, alone, strict=True):
        family.step(shipped, [single])
        assert state.step == single.step
        np.testing.assert_array_equal(state.latents, single.latents)


def test_states_that_differ_in_kind_are_not_stepped_together(family: Family, shipped: Session, text: Array) -> None:
    square, wide = (
        family.start(Conditions(canvas, text), seed=1, segment=0, steps=2) for canvas in CAPABILITIES.canvases[:2]
    )
    with pytest.raises(ValueError, match="batch_key"):
        family.step(shipped, [square, wide])


def test_a_given_first_frame_stays_as_it_is(family: Family, shipped: Session, text: Array) -> None:
    canvas = CAPABILITIES.canvases[0]
    picture = np.full((canvas.height, canvas.width, 3), 128, np.uint8)
    first = family.encode_still(shipped, picture)[None]
    root = _run(family, shipped, family.start(Conditions(canvas, text, first=first), seed=1, segment=0, steps=2))
    np.testing.assert_array_equal(root[:1], first)


def test_a_still_is_the_first_latent_of_a_video_that_begins_with_it(family: Family, shipped: Session) -> None:
    frames: Frames = np.random.default_rng(2).integers(0, 256, (69, 64, 64, 3)).astype(np.uint8)
    latents = family.encode_video(shipped, frames)
    assert latents.shape == (18, 16, 8, 8)
    np.testing.assert_allclose(latents[0], family.encode_still(shipped, frames[0]), atol=1e-4)
    np.testing.assert_allclose(latents[:2], family.encode_video(shipped, frames[:5]), atol=1e-4)


@pytest.mark.parametrize("count", [0, 2, 4, 16])
def test_a_video_that_is_not_whole_latents_is_refused(family: Family, shipped: Session, count: int) -> None:
    with pytest.raises(ValueError, match=r"expected uint8 \[4k\+1, h, w, 3\]"):
        family.encode_video(shipped, np.zeros((count, 64, 64, 3), np.uint8))


def test_conditions_that_the_model_never_saw_are_refused(family: Family, text: Array) -> None:
    canvas = CAPABILITIES.canvases[0]
    one, reference = np.zeros((1, 16, 8, 14), np.float32), np.zeros((16, 4, 4), np.float32)
    refused = {
        "references": Conditions(canvas, text, (reference, reference)),
        "first": Conditions(canvas, text, first=one, anchor=one, short=np.concatenate([one, one])),
        "anchor": Conditions(canvas, text, anchor=one),
        "short": Conditions(canvas, text, anchor=one, short=one),
    }
    for field, conditions in refused.items():
        with pytest.raises(ValueError, match=field):
            family.start(conditions, seed=1, segment=1, steps=2)


def test_a_step_after_the_last_is_refused(family: Family, shipped: Session, text: Array) -> None:
    state = family.start(Conditions(CAPABILITIES.canvases[0], text), seed=1, segment=0, steps=1)
    family.step(shipped, [state])
    with pytest.raises(ValueError, match="none of them done"):
        family.step(shipped, [state])


def _run(family: Family, session: Session, state: Denoising) -> Array:
    while not state.done:
        family.step(session, [state])
    return state.latents


def _frames(family: Family, session: Session, latents: Array, lead: Array | None) -> Frames:
    return np.concatenate(list(family.decode(session, latents, lead=lead)))
