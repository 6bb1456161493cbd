"""Training must be resumable to the bit, and its batches must be what the world would film."""

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs longtake[build]")

from engines.families.sprite import packing, world  # noqa: E402
from engines.families.sprite.training import train_dit, train_vae  # noqa: E402
from engines.families.sprite.training.data import Maker, Painter, draw_extension, draw_root  # noqa: E402
from engines.families.sprite.training.train_dit import Trainer as DitTrainer  # noqa: E402
from engines.families.sprite.training.train_vae import Trainer as VaeTrainer  # noqa: E402
from engines.families.sprite.training.train_vae import pixels  # noqa: E402
from engines.families.sprite.vae import Vae, latent_groups  # noqa: E402

CPU = torch.device("cpu")


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is drawn, and how a step goes, do not depend on how much of it there is."""
    monkeypatch.setattr(train_vae, "_draw_size", lambda _rng, _progress: ((48, 48), 5, 1))
    for aspect in train_dit.BATCH:
        monkeypatch.setitem(train_dit.BATCH, aspect, 1)


def test_pasted_windows_equal_the_encoded_clip() -> None:
    torch.manual_seed(0)
    vae = Vae()
    painter = Painter(vae)
    rng = np.random.default_rng(3)
    for canvas in world.CANVASES.values():
        sample = draw_root(rng, canvas)
        painted = painter.paint([sample], canvas).latents[0]
        corners = world.path(canvas, sample.direction, sample.start, sample.lane, np.arange(17))
        clip = world.clip(sample.sprite, sample.background, canvas, corners)
        with torch.no_grad():
            whole = vae.encode(latent_groups(pixels(clip[None]))).numpy()
        # The painter encodes in bf16.
        assert np.abs(painted - whole).max() < 0.05 * np.abs(whole).max()


def test_decoding_step_by_step_equals_decoding_at_once() -> None:
    torch.manual_seed(0)
    vae = Vae().eval()
    latents = torch.randn(1, 4, 16, 4, 4)
    cache = torch.zeros(1, 128, 4, 4)
    frames = []
    with torch.no_grad():
        for k in range(4):
            group, cache = vae.step(latents[:, k], cache)
            frames.append(group[:, 3:] if k == 0 else group)
        assert torch.allclose(torch.cat(frames, 1), vae.decode(latents), atol=1e-5)


def test_no_caption_names_a_combination_that_is_held_out() -> None:
    rng = np.random.default_rng(0)
    for draw in (draw_root, draw_extension):
        for sample in (draw(rng, (64, 64)) for _ in range(2000)):
            if isinstance(sample.sprite, world.Pattern):
                assert not world.pattern_is_held_out(sample.sprite)
            elif sample.caption.startswith("a "):
                combination = (sample.sprite.colour, sample.sprite.shape, sample.background, sample.direction)
                assert not world.combination_is_held_out(combination)


def test_a_batch_shows_history_only_to_extensions() -> None:
    torch.manual_seed(0)
    maker = Maker(Vae())
    rng = np.random.default_rng(0)
    root = maker.batch("root", 4, (64, 112), rng)
    assert root.anchor is None
    assert root.target.shape == (4, 5 * 28, 64)
    extension = maker.batch("extension", 4, (64, 112), rng)
    assert extension.anchor is not None
    assert extension.anchor.shape == (4, 28, 64)
    assert extension.target.shape == (4, 4 * 28, 64)
    assert not extension.present[:, packing.SEGMENTS.index("first")].any()


def test_a_stopped_vae_run_goes_on_as_if_it_had_not_been(tmp_path: Path, small_batches: None) -> None:
    unbroken = VaeTrainer(CPU, seed=1)
    for _ in range(2):
        unbroken.train_step(0.9)
    broken = VaeTrainer(CPU, seed=1)
    broken.train_step(0.9)
    broken.save(tmp_path / "vae.state")
    resumed = VaeTrainer(CPU, seed=1)
    resumed.resume(tmp_path / "vae.state")
    resumed.train_step(0.9)
    for name, value in unbroken.vae.state_dict().items():
        assert torch.equal(value, resumed.vae.state_dict()[name]), name


def test_a_stopped_denoiser_run_goes_on_as_if_it_had_not_been(tmp_path: Path, small_batches: None) -> None:
    torch.manual_seed(0)
    vae = Vae()
    unbroken = DitTrainer(vae, CPU, seed=2)
    for _ in range(2):
        unbroken.train_step(0.0)
    broken = DitTrainer(vae, CPU, seed=2)
    broken.train_step(0.0)
    broken.save(tmp_path / "dit.state", tmp_path / "dit.safetensors")
    resumed = DitTrainer(vae, CPU, seed=2)
    resumed.resume(tmp_path / "dit.state")
    resumed.train_step(0.0)
    for name, value in unbroken.average.weights().items():
        assert torch.equal(value, resumed.average.weights()[name]), name
    assert (tmp_path / "dit.safetensors").stat().st_size < 3_000_000
