"""The net: the ring closes, padding is not seen, and the exported call is the trained one."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the weights' own modules need longtake[build]")

from torch import Tensor  # noqa: E402

from engines.families.sprite import packing, world  # noqa: E402
from engines.families.sprite.denoiser import Denoiser  # noqa: E402
from engines.families.sprite.training.data import Batch, Maker  # noqa: E402
from engines.families.sprite.training.losses import spread_over  # noqa: E402
from engines.families.sprite.words import SLOTS  # noqa: E402

GRID = world.Grid(5, 5)


@pytest.fixture(scope="module")
def net() -> Denoiser:
    torch.manual_seed(0)
    net = Denoiser().eval()
    for parameter in net.parameters():  # the projections that begin at zero would hide everything
        torch.nn.init.normal_(parameter, std=0.1)
    return net


@pytest.fixture(scope="module")
def batch() -> Batch:
    torch.manual_seed(1)
    return Maker(torch.randn(4010, 16)).extension(2, GRID, np.random.default_rng(0), panned=True)


def predict(net: Denoiser, batch: Batch, **other: Tensor) -> Tensor:
    """x0 of the target by the exported call."""
    inputs = {
        "ids": batch.ids,
        "stand": batch.places[:, :SLOTS],
        "tokens": batch.tokens,
        "places": batch.places[:, SLOTS:],
        "role": batch.role,
        "pan": batch.pan,
        "segment": batch.segment,
        "present": batch.present,
        "levels": torch.full((2, len(packing.SEGMENTS)), 0.5),
        **other,
    }
    with torch.no_grad():
        found: Tensor = net(**inputs)[:, -batch.count :]
    return found


def test_the_exported_call_is_the_trained_one(net: Denoiser, batch: Batch) -> None:
    levels = torch.full((2, len(packing.SEGMENTS)), 0.5)
    with torch.no_grad():
        trained = net.run(
            batch.ids,
            batch.tokens,
            batch.places,
            batch.role,
            batch.pan,
            batch.present,
            levels,
            spread_over(batch.lengths),
        )[0][:, -batch.count :]
    assert torch.allclose(predict(net, batch), trained, atol=1e-5)


def test_the_ring_closes(net: Denoiser, batch: Batch) -> None:
    here = predict(net, batch)
    once_round = torch.tensor([world.RING, 0])
    there = predict(net, batch, stand=batch.places[:, :SLOTS] + once_round, places=batch.places[:, SLOTS:] + once_round)
    assert torch.allclose(here, there, atol=1e-3)
    shifted = batch.places[:, SLOTS:].clone()
    shifted[:, : -batch.count, 0] += 1
    assert not torch.allclose(here, predict(net, batch, places=shifted), atol=1e-2)


def test_padding_is_not_seen(net: Denoiser, batch: Batch) -> None:
    present = batch.present.clone()
    memory = batch.segment == packing.SEGMENTS.index("memory")
    present[:, memory] = 0
    tokens = batch.tokens.clone()
    tokens[:, memory] = 99.0
    assert torch.allclose(predict(net, batch, present=present), predict(net, batch, present=present, tokens=tokens))
