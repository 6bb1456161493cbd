"""A session is the loaded engines of one model: checked, counted, and easy to swap a part of."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from engines import models
from engines.errors import EngineCorrupt, EngineDeviceAbsent, EngineNotBuilt
from engines.families.base import Conditions
from engines.families.history import Before
from engines.key import digest_of
from engines.runtimes.base import Arrays, DeviceMemory, Runner
from engines.runtimes.onnxruntime import OnnxRuntime
from engines.session import Session, load_session
from engines.spec import ComponentSpec
from engines.store import EngineStore, Prebuilt


def test_the_shipped_engines_load_and_run(shipped: Session) -> None:
    latent = shipped.family.encode_still(shipped, np.zeros((80, 144, 3), np.uint8))
    assert latent.shape == (16, 10, 18)
    assert shipped.digest == models.find("sprite").digest()


def test_calls_and_seconds_are_counted_by_component(shipped: Session) -> None:
    before = shipped.usage["vae_encoder"]
    shipped.family.encode_still(shipped, np.zeros((80, 80, 3), np.uint8))
    after = shipped.usage["vae_encoder"]
    assert after.calls == before.calls + 1
    assert after.seconds > before.seconds


def test_a_wrong_input_is_named(shipped: Session) -> None:
    with pytest.raises(ValueError, match="vae_encoder: input frames is int32, expected float32"):
        shipped.infer("vae_encoder", {"frames": np.zeros((1, 4, 3, 80, 80), np.int32)})


def test_an_unknown_component_is_named(shipped: Session) -> None:
    with pytest.raises(ValueError, match="no 'upscaler' in sprite-2"):
        shipped.infer("upscaler", {})


def test_a_stage_may_load_only_what_it_runs() -> None:
    with asyncio.run(load_session("sprite", threads=1, components=["vae_encoder"])) as session:
        assert list(session.runners) == ["vae_encoder"]


def test_engines_that_are_larger_than_what_is_free_of_a_device_are_refused_with_the_sum(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names, free = ["dit", "vae_encoder"], 0
    monkeypatch.setattr(OnnxRuntime, "memory", lambda *_: DeviceMemory(free, 24_000_000_000))
    with pytest.raises(
        EngineDeviceAbsent, match=r"dit 0\.0 \+ vae_encoder 0\.0 = 0\.0 GB, and 0\.0 of its 24\.0 GB are free"
    ):
        asyncio.run(load_session("sprite", threads=1, components=names))
    free = 23_000_000_000
    with asyncio.run(load_session("sprite", threads=1, components=names)) as session:
        assert session.memory() == (free, 24_000_000_000)


def test_engines_on_the_cpu_tell_of_no_device(shipped: Session) -> None:
    assert shipped.memory() is None


def test_the_same_seed_gives_the_same_bytes_in_another_session(shipped: Session) -> None:
    with asyncio.run(load_session("sprite", threads=1)) as other:
        assert digest_of(_frames(shipped)) == digest_of(_frames(other))


def test_a_component_can_be_swapped_for_another_runner(shipped: Session) -> None:
    """What makes the pixels is the decoder, and what decides them the denoiser: with noise for one, noise comes."""
    with asyncio.run(load_session("sprite", threads=1)) as intact:
        swapped = Session(
            intact.family, {**intact.runners, "dit": Noise(intact.runners["dit"].component)}, digest="swapped"
        )
        assert _frames(swapped) != _frames(shipped)


def test_damaged_engines_do_not_load(tmp_path: Path) -> None:
    folder = tmp_path / "prebuilt"
    shutil.copytree(models.find("sprite").prebuilt, folder)
    graph = folder / "vae_encoder.onnx"
    graph.write_bytes(graph.read_bytes()[:-1] + b"\0")
    with pytest.raises(EngineCorrupt, match="vae_encoder"):
        asyncio.run(load_session("sprite", EngineStore(Prebuilt(folder))))


def test_missing_engines_name_the_command(tmp_path: Path) -> None:
    with pytest.raises(EngineNotBuilt, match="longtake engines build --model sprite-2"):
        asyncio.run(load_session("sprite", EngineStore(Prebuilt(tmp_path))))


def _frames(session: Session) -> bytes:
    family = session.family
    canvas = family.capabilities.canvases[0]
    before = Before(canvas)
    (caption,) = family.read_prompt("a red square moves left", seed=7, before=before).effective_prompts
    text = family.encode_text(session, caption)
    conditions = Conditions(canvas, text, effective_prompt=caption, before=before)
    state = family.start(conditions, seed=7, segment=0, steps=2)
    while not state.done:
        family.step(session, [state])
    return np.concatenate(list(family.decode(session, state.latents, lead=None))).tobytes()


class Noise(Runner):
    """A denoiser that predicts noise."""

    def __init__(self, component: ComponentSpec) -> None:
        super().__init__(component)
        self._random = np.random.default_rng(0)

    def _load(self) -> None:
        """Nothing to load."""

    def _run(self, inputs: Arrays) -> dict[str, NDArray[np.generic]]:
        return {"x0": self._random.standard_normal(inputs["tokens"].shape, dtype=np.float32)}

    def _unload(self) -> None:
        """Nothing to let go of."""
