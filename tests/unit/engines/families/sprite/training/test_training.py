"""Training: a batch is what its samples say, and a stopped run goes on as if it had not stopped."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs longtake[build]")

from engines.families.sprite import packing, words, world  # noqa: E402
from engines.families.sprite.denoiser import Denoiser  # noqa: E402
from engines.families.sprite.training import batches, train_denoiser  # noqa: E402
from engines.families.sprite.training.data import Batch, Maker, table  # noqa: E402
from engines.families.sprite.training.losses import auxiliary_heads, losses  # noqa: E402
from engines.families.sprite.training.train_denoiser import Trainer  # noqa: E402
from engines.families.sprite.vae import Vae, latent_groups  # noqa: E402

GRID = world.Grid(5, 5)


@pytest.fixture(scope="module")
def vae() -> Vae:
    torch.manual_seed(0)
    return Vae().eval()


@pytest.fixture(scope="module")
def maker(vae: Vae) -> Maker:
    return Maker(table(vae))


def segment(batch: Batch, name: str) -> np.ndarray:
    return (batch.segment == packing.SEGMENTS.index(name)).numpy()


def test_a_look_up_is_what_the_encoder_makes_of_the_pixels(vae: Vae, maker: Maker) -> None:
    rng = np.random.default_rng(0)
    scenery = rng.integers(10, size=(10, 10))
    frames = torch.from_numpy(world.painted(scenery)).float().div(127.5).sub(1).movedim(-1, 0)[None, None]
    with torch.no_grad():
        encoded = vae.encode(latent_groups(frames))[0]
    looked_up = maker.latents[torch.from_numpy(scenery)].movedim(-1, 0)
    assert (encoded - looked_up).abs().max() < 1e-5


def test_a_pan_shows_its_memory_and_says_what_has_to_be_invented(maker: Maker) -> None:
    batch = maker.extension(12, GRID, np.random.default_rng(0), panned=True)
    assert batch.lengths == (words.SLOTS, 2, 20, 25, 100)
    assert batch.tokens.shape == (12, 147, 64)
    assert batch.places.shape == (12, words.SLOTS + 147, 2)
    memory = batch.present.numpy()[:, segment(batch, "memory")]
    assert set(memory.sum(1) % GRID.rows) == {0}
    # What is recalled is on the screen and in memory, what is fresh in neither memory nor the newest latent.
    places = batch.places[:, words.SLOTS :, 0].numpy()
    for sample in range(12):
        kept = set(places[sample][segment(batch, "memory")][memory[sample] > 0])
        newest = set(places[sample][segment(batch, "short")])
        target = places[sample][segment(batch, "target")]
        recalled, fresh = batch.recalled[sample].numpy(), batch.fresh[sample].numpy()
        assert set(target[recalled]) == kept
        assert set(target[fresh]) == set(target) - kept - newest
        assert not (recalled & fresh).any()


def test_a_root_has_five_latents_and_no_history(maker: Maker) -> None:
    batch = maker.root(6, GRID, np.random.default_rng(1))
    assert not segment(batch, "short").any()
    assert segment(batch, "target").sum() == 125
    assert (batch.labels[:, :25] >= 0).all()
    assert (batch.subject.amax(1) <= world.SUBJECTS_MAX).all()


def test_a_resumed_run_takes_the_steps_of_an_unbroken_one(
    vae: Vae, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for aspect in batches.BATCH:
        monkeypatch.setitem(batches.BATCH, aspect, 1)
    unbroken = Trainer(vae, seed=3)
    unbroken.train_step(0.0)
    unbroken.save(tmp_path / "state", tmp_path / "weights.safetensors")
    unbroken.train_step(0.1)
    resumed = Trainer(vae, seed=3)
    resumed.resume(tmp_path / "state")
    assert resumed.step == 1
    resumed.train_step(0.1)
    for one, other in zip(unbroken.net.parameters(), resumed.net.parameters(), strict=True):
        assert torch.equal(one, other)
    for one, other in zip(unbroken.average.parameters(), resumed.average.parameters(), strict=True):
        assert torch.equal(one, other)


def test_the_stop_file_ends_a_run(vae: Vae, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for aspect in batches.BATCH:
        monkeypatch.setitem(batches.BATCH, aspect, 1)
    (tmp_path / "stop").touch()
    trainer = Trainer(vae, seed=0)
    train_denoiser.run(trainer, 1e9, tmp_path / "state", tmp_path / "out", tmp_path / "stop")
    assert trainer.step == 1
    assert (tmp_path / "out").stat().st_size <= 3_000_000


def test_workers_draw_the_batches_that_the_run_itself_would_draw(vae: Vae) -> None:
    drawn = batches.Batches(table(vae), seed=5)
    for alone, ahead in zip(itertools.islice(drawn.since(3, 0), 3), drawn.since(3, 2), strict=False):
        assert (alone.kind, alone.seed) == (ahead.kind, ahead.seed)
        assert torch.equal(alone.batch.tokens, ahead.batch.tokens)


def test_angles_are_exact_where_all_else_is_in_half() -> None:
    turned: list[Any] = []
    net = Denoiser()
    handle = net.blocks[0].register_forward_pre_hook(lambda _, inputs: turned.append(inputs[3][0]))
    batch = Maker(torch.randn(4010, 16)).extension(1, GRID, np.random.default_rng(0), panned=True)
    losses(net, auxiliary_heads(), batch)
    handle.remove()
    angles = batch.places.double() @ net.turns.double()
    assert (turned[0][:, 0].double() - angles.cos()).abs().max() < 2**-8
