"""A checkpoint through the family is the pipeline that it was saved from: the same latents, prompt and steps."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engines import models
from engines.checkpoints.files import Folder
from engines.errors import CheckpointUnfit
from engines.families.base import Conditions, Denoising
from engines.families.buildable import Sizes
from engines.families.capabilities import Canvas
from engines.families.history import Before
from engines.families.wan.family import WanFamily
from engines.session import Session
from tests.unit.engines.families.wan.modules import session_of

BEFORE = Before(Canvas("16:9", 64, 112))

CANVASES = (Canvas("1:1", 32, 32), Canvas("16:9", 32, 64))
PROMPTS = ("a red cat runs over the hill", "dog sits")
STEPS = 4


@pytest.fixture(scope="module")
def family(make_checkpoint: Callable[[str], Path]) -> WanFamily:
    """The tiny checkpoint's, on canvases of its size."""
    found = models.opened(Folder(make_checkpoint("text")), name="wan-tiny", sizes=Sizes(CANVASES, seconds=1)).family
    assert isinstance(found, WanFamily)
    return found


@pytest.fixture(scope="module")
def session(family: WanFamily) -> Iterator[Session]:
    """Its modules as engines."""
    with session_of(family) as session:
        yield session


def begin(family: WanFamily, session: Session, canvas: Canvas, prompt: str, *, seed: int) -> Denoising:
    text = family.encode_text(session, family.read_prompt(prompt, before=BEFORE, seed=seed).effective_prompts[0])
    return family.start(Conditions(canvas, text), seed=seed, segment=0, steps=STEPS)


@pytest.mark.parametrize("canvas", CANVASES, ids=lambda canvas: canvas.aspect_ratio)
@pytest.mark.parametrize("prompt", PROMPTS)
def test_a_video_is_the_one_of_the_pipeline(
    torch: Any, family: WanFamily, session: Session, make_pipeline: Callable[[str], Any], canvas: Canvas, prompt: str
) -> None:
    state = begin(family, session, canvas, prompt, seed=3)
    pipeline, asked = (
        make_pipeline("text"),
        {
            "prompt": prompt,
            "negative_prompt": "",
            "height": canvas.height,
            "width": canvas.width,
            "num_frames": 17,
            "num_inference_steps": STEPS,
            "guidance_scale": 5.0,
            "latents": torch.from_numpy(np.moveaxis(state.latents, 1, 0)[None].copy()),
        },
    )
    pipeline.set_progress_bar_config(disable=True)
    wanted = pipeline(**asked, output_type="latent").frames[0].numpy()
    while not state.done:
        family.step(session, [state])
    scale = np.abs(wanted).max()
    assert np.abs(np.moveaxis(state.latents, 1, 0) - wanted).max() < 1e-5 * scale
    frames = np.concatenate(list(family.decode(session, state.latents, lead=None)))
    shown = pipeline(**asked, output_type="np").frames[0]
    assert frames.shape == shown.shape == (17, canvas.height, canvas.width, 3)
    assert np.abs(frames - shown * 255).max() < 1


def test_states_of_other_prompts_and_steps_go_together(family: WanFamily, session: Session) -> None:
    alone = [begin(family, session, CANVASES[0], prompt, seed=5) for prompt in PROMPTS]
    together = [begin(family, session, CANVASES[0], prompt, seed=5) for prompt in PROMPTS]
    assert len({family.batch_key(state) for state in together}) == 1
    family.step(session, together[:1])
    while not together[0].done:
        family.step(session, together)
    family.step(session, together[1:])
    for state in alone:
        while not state.done:
            family.step(session, [state])
    for wanted, found in zip(alone, together, strict=True):
        np.testing.assert_allclose(found.latents, wanted.latents, rtol=0, atol=1e-4)


def test_a_state_goes_on_from_latents_step_and_memory_to_the_same_bytes(family: WanFamily, session: Session) -> None:
    whole = begin(family, session, CANVASES[1], PROMPTS[0], seed=9)
    for at in range(1, STEPS):
        family.step(session, [whole])
        again = begin(family, session, CANVASES[1], PROMPTS[0], seed=9)
        again.latents, again.step, again.memory = whole.latents, whole.step, whole.memory
        ahead = Denoising(whole.latents, at, whole.times, whole.packed, whole.memory)
        while not again.done:
            family.step(session, [again])
            family.step(session, [ahead])
        np.testing.assert_array_equal(again.latents, ahead.latents)


def test_a_begun_state_without_its_memory_is_refused(family: WanFamily, session: Session) -> None:
    state = begin(family, session, CANVASES[0], PROMPTS[0], seed=1)
    family.step(session, [state])
    state.memory = {}
    with pytest.raises(ValueError, match="without memory"):
        family.step(session, [state])


def test_a_prompt_is_cleaned_and_cut_as_by_the_pipeline(
    family: WanFamily, session: Session, make_pipeline: Callable[[str], Any]
) -> None:
    pipeline = make_pipeline("text")
    for prompt, negative in (("  a   cat\n &amp;amp; dog ", ""), ("", " blurred  red "), ("cat " * 600, "dog " * 600)):
        wanted = pipeline.encode_prompt(prompt, negative, max_sequence_length=512)
        reading = family.read_prompt(prompt, before=BEFORE, seed=1)
        text = family.encode_text(session, reading.effective_prompts[0], negative)
        for half, said in zip(text.reshape(2, 512, -1), wanted, strict=True):
            np.testing.assert_allclose(half, said[0].detach().numpy(), rtol=0, atol=2e-6)


def test_what_of_a_prompt_is_not_read_is_told(family: WanFamily) -> None:
    assert not family.read_prompt("cat " * 511, before=BEFORE, seed=1).warnings
    (warning,) = family.read_prompt("cat " * 600, before=BEFORE, seed=1).warnings
    assert warning == "not read: the last 89 tokens of the prompt; this model reads 512"


def test_what_the_checkpoint_lacks_is_refused(family: WanFamily, session: Session) -> None:
    picture = np.zeros((32, 32, 3), np.uint8)
    state = begin(family, session, CANVASES[0], PROMPTS[0], seed=1)
    text = state.packed["text"].reshape(1024, -1).astype(np.float32)
    for refused in (
        lambda: family.read_reference(picture),
        lambda: family.encode_still(session, picture),
        lambda: family.encode_video(session, picture[None]),
        lambda: family.start(Conditions(CANVASES[0], text, first=state.latents[:1]), seed=1, segment=0, steps=2),
        lambda: family.start(Conditions(CANVASES[0], text, anchor=state.latents[:1]), seed=1, segment=1, steps=2),
        lambda: family.start(Conditions(CANVASES[0], text[:512]), seed=1, segment=0, steps=2),
    ):
        with pytest.raises(ValueError, match=":"):
            refused()


def test_a_checkpoint_that_no_family_serves_is_refused(make_checkpoint: Callable[[str], Path], tmp_path: Path) -> None:
    with pytest.raises(CheckpointUnfit, match="is read by no family here; there is WanPipeline, WanVACEPipeline"):
        models.opened(Folder(make_checkpoint("image")), name="wan")
    root = tmp_path / "checkpoint"
    shutil.copytree(make_checkpoint("text"), root)
    (root / "tokenizer/tokenizer.json").unlink()
    with pytest.raises(CheckpointUnfit, match="save the tokenizer again as a fast one"):
        models.opened(Folder(root), name="wan")


def test_the_weights_digest_covers_every_file(make_checkpoint: Callable[[str], Path], tmp_path: Path) -> None:
    root = tmp_path / "checkpoint"
    shutil.copytree(make_checkpoint("text"), root)
    digest = models.digest_of_weights(Folder(root))
    assert digest == models.digest_of_weights(Folder(make_checkpoint("text")))
    (root / "tokenizer/tokenizer.json").write_text("{}")
    assert models.digest_of_weights(Folder(root)) != digest


def test_random_inputs_fit_every_component(family: WanFamily, session: Session) -> None:
    cases = list(family.cases())
    assert {case.component for case in cases} == set(family.components)
    for case in cases:
        assert all(np.isfinite(value).all() for value in session.infer(case.component, case.inputs).values())
