"""A checkpoint through the family is the pipeline that it was saved from: the same latents, prompt and steps."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from engines import models
from engines.checkpoints.files import Folder
from engines.errors import CheckpointUnfit
from engines.families import step_cache
from engines.families.base import Conditions, Denoising
from engines.families.buildable import Sizes
from engines.families.capabilities import Canvas
from engines.families.history import Before
from engines.families.wan.family import WanFamily
from engines.session import Session
from tests.unit.engines.families.wan.modules import session_of

BEFORE = Before(Canvas("16:9", 64, 112))

CANVASES = (Canvas("1:1", 32, 32), Canvas("16:9", 32, 64))
CANVASES_OF = {"text": CANVASES, "5b": (Canvas("1:1", 64, 64), Canvas("3:2", 64, 96)), "two of text": CANVASES}
FRAMES_OF = {"text": 17, "5b": 25, "two of text": 17}
"""Of a second."""
GUIDED = {"two of text": {"guidance_scale": 4.0, "guidance_scale_2": 3.0}}
"""Where it is not by 5: what the model's own code has for each denoiser."""
PROMPTS = ("a red cat runs over the hill", "dog sits")
STEPS = 4


Opened = tuple[WanFamily, Session]


@pytest.fixture(scope="module")
def opened(make_checkpoint: Callable[[str], Path]) -> Iterator[Callable[[str], Opened]]:
    """Of a tiny checkpoint the family, on canvases of its size, and its modules as engines."""
    found = dict[str, Opened]()
    with ExitStack() as stack:

        def make(task: str) -> Opened:
            if task not in found:
                sizes = Sizes(CANVASES_OF[task], seconds=1)
                family = models.opened(Folder(make_checkpoint(task)), name="wan-tiny", sizes=sizes).family
                assert isinstance(family, WanFamily)
                found[task] = family, stack.enter_context(session_of(family))
            return found[task]

        yield make


@pytest.fixture(scope="module")
def family(opened: Callable[[str], Opened]) -> WanFamily:
    """The tiny text-to-video checkpoint's."""
    return opened("text")[0]


@pytest.fixture(scope="module")
def session(opened: Callable[[str], Opened]) -> Session:
    """Its modules as engines."""
    return opened("text")[1]


def begin(
    family: WanFamily,
    session: Session,
    canvas: Canvas,
    prompt: str,
    *,
    seed: int,
    image: bool = False,
    steps: int = STEPS,
) -> Denoising:
    text = family.encode_text(session, family.read_prompt(prompt, before=BEFORE, seed=seed).effective_prompts[0])
    return family.start(Conditions(canvas, text, image=image), seed=seed, segment=0, steps=steps)


def shown_by(
    torch: Any, pipeline: Any, canvas: Canvas, states: Sequence[Denoising], frames: int, guided: Mapping[str, float]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """What the pipeline makes of the noise of these states, one for each prompt: latents [B, C, T, h, w], and frames
    [B, F, H, W, 3] in 0..1."""
    pipeline.set_progress_bar_config(disable=True)
    asked = {
        "prompt": list(PROMPTS[: len(states)]),
        "negative_prompt": [""] * len(states),
        "height": canvas.height,
        "width": canvas.width,
        "num_frames": frames,
        "num_inference_steps": STEPS,
        "guidance_scale": 5.0,
        **guided,
        "latents": torch.from_numpy(np.stack([np.moveaxis(state.latents, 1, 0) for state in states])),
    }
    return pipeline(**asked, output_type="latent").frames.numpy(), pipeline(**asked, output_type="np").frames


@pytest.mark.parametrize("task", CANVASES_OF)
@pytest.mark.parametrize("size", [0, 1])
@pytest.mark.parametrize(("image", "together"), [(False, 1), (False, 2), (True, 2)], ids=["video", "two", "images"])
def test_what_it_makes_is_what_the_pipeline_makes(
    torch: Any,
    opened: Callable[[str], Opened],
    make_pipeline: Callable[[str], Any],
    task: str,
    size: int,
    image: bool,
    together: int,
) -> None:
    """A second of video, or an image, which is a video of one frame; at each size, alone and in a batch of two."""
    (family, session), canvas = opened(task), CANVASES_OF[task][size]
    frames = 1 if image else FRAMES_OF[task]
    states = [begin(family, session, canvas, prompt, seed=3, image=image) for prompt in PROMPTS[:together]]
    wanted, shown = shown_by(torch, make_pipeline(task), canvas, states, frames, GUIDED.get(task, {}))
    while not states[0].done:
        family.step(session, states)
    before = session.usage["vae_decoder_step"].calls
    for number, state in enumerate(states):
        found = np.moveaxis(state.latents, 1, 0)
        assert found.shape == wanted[number].shape
        assert np.abs(found - wanted[number]).max() < 1e-5 * np.abs(wanted[number]).max()
        pixels = np.concatenate(list(family.decode(session, state.latents, lead=None)))
        assert pixels.shape == shown[number].shape == (frames, canvas.height, canvas.width, 3)
        assert np.abs(pixels - shown[number] * 255).max() < 1
    assert (session.usage["vae_decoder_step"].calls == before) is image


def test_of_two_denoisers_the_first_begins_and_the_second_goes_on(opened: Callable[[str], Opened]) -> None:
    """States on either side of the boundary are not stepped together: each step is one call of one of them."""
    family, session = opened("two of text")
    early, late = (begin(family, session, CANVASES[0], PROMPTS[0], seed=3) for _ in range(2))
    before = {name: session.usage[name].calls for name in ("dit", "dit_2")}
    family.step(session, [late])
    assert family.batch_key(early) == family.batch_key(late)
    while not late.done:
        family.step(session, [late])
    assert {name: session.usage[name].calls - calls for name, calls in before.items()} == {"dit": 2, "dit_2": 2}
    assert family.batch_key(early) != family.batch_key(late)
    late.step = STEPS - 1
    with pytest.raises(ValueError, match="of one batch_key"):
        family.step(session, [early, late])
    with pytest.raises(CheckpointUnfit, match="takes no adapters: it has two denoisers"):
        family.layers()


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


def test_steps_that_reuse_a_prediction_ask_the_denoiser_nothing(family: WanFamily, session: Session) -> None:
    calls, latents = dict[float, int](), dict[float, NDArray[np.float32]]()
    for threshold in (0.0, 0.5):
        state = begin(family, session, CANVASES[0], PROMPTS[0], seed=5, steps=20)
        state.step_cache, before = threshold, session.usage["dit"].calls
        while not state.done:
            family.step(session, [state])
        calls[threshold], latents[threshold] = session.usage["dit"].calls - before, state.latents
        assert calls[threshold] == 20 - step_cache.skipped(state.memory)
    assert calls[0.5] < calls[0.0] == 20
    assert np.abs(latents[0.5] - latents[0.0]).max() > 0


def test_states_that_are_computed_and_such_as_are_not_are_no_batch(family: WanFamily, session: Session) -> None:
    one, other = (begin(family, session, CANVASES[0], prompt, seed=5, steps=20) for prompt in PROMPTS)
    one.step_cache = 0.5
    while not step_cache.skips(one):
        family.step(session, [one])
    assert family.batch_key(one) != family.batch_key(other)
    with pytest.raises(ValueError, match="states of one batch_key"):
        family.step(session, [one, other])


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
    both = family.read_prompt("cat " * 600, before=BEFORE, seed=1, negative_prompt="dog " * 520).warnings
    assert both == (warning, "not read: the last 9 tokens of the negative prompt; this model reads 512")


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
    there = "FluxPipeline is read by no family here; there is WanPipeline, WanImageToVideoPipeline, WanVACEPipeline"
    other = tmp_path / "other"
    other.mkdir()
    (other / "model_index.json").write_text('{"_class_name": "FluxPipeline"}')
    with pytest.raises(CheckpointUnfit, match=there):
        models.opened(Folder(other), name="wan")
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


@pytest.mark.parametrize("task", CANVASES_OF)
def test_random_inputs_fit_every_component(opened: Callable[[str], Opened], task: str) -> None:
    family, session = opened(task)
    cases = list(family.cases())
    assert {case.component for case in cases} == set(family.components)
    for case in cases:
        assert all(np.isfinite(value).all() for value in session.infer(case.component, case.inputs).values())
