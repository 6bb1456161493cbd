"""The map from latents to colours is the best one for the VAE that it is fitted to."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engines import models
from engines.checkpoints.files import Folder
from engines.families.base import Conditions, PreviewingFamily
from engines.families.buildable import Sizes
from engines.families.capabilities import Canvas
from engines.families.wan.family import WanFamily
from tests.unit.engines.families.wan.modules import session_of

STRIDE = 8


def test_colours_that_are_mixed_into_latents_are_found_again(torch: Any) -> None:
    from engines.families.wan.preview import fitted

    generator = torch.Generator().manual_seed(1)
    mixed = torch.randn(6, 3, 1, 1, generator=generator)

    def encode(pictures: Any) -> Any:
        return torch.nn.functional.conv2d(torch.nn.functional.avg_pool2d(pictures, STRIDE), mixed) + 0.7

    module = fitted(encode, STRIDE)
    picture = torch.rand(2, 3, 4 * STRIDE, 6 * STRIDE, generator=generator) * 2 - 1
    wanted = torch.nn.functional.avg_pool2d(picture, STRIDE)
    np.testing.assert_allclose(module(encode(picture)).numpy(), wanted.numpy(), rtol=0, atol=5e-3)


def test_no_other_map_shows_the_vaes_stills_better(torch: Any, make_pipeline: Callable[[str], Any]) -> None:
    from engines.families.wan import preview, vae

    encoder = vae.EncodeFirst(make_pipeline("text").vae).eval()
    pictures, colours = [], []

    def encode(given: Any) -> Any:
        pictures.append(encoder(given[:, None])[0])
        colours.append(torch.nn.functional.avg_pool2d(given, STRIDE))
        return pictures[-1]

    module = preview.fitted(encode, STRIDE)

    def error(weight: Any, bias: Any) -> float:
        shown = torch.nn.functional.conv2d(pictures[0], weight, bias)
        return float(((shown - colours[0]) ** 2).mean())

    best = error(module.weight, module.bias)
    assert best < error(torch.zeros_like(module.weight), colours[0].mean((0, 2, 3)))
    for number in range(4):
        changed = torch.zeros_like(module.weight)
        changed.view(-1)[3 * number] = 0.05
        assert best < min(error(module.weight + changed, module.bias), error(module.weight - changed, module.bias))


@pytest.mark.parametrize("task", ["text", "5b"])
def test_a_segment_on_its_way_is_shown_in_the_colours_of_its_last_latent(
    torch: Any, make_checkpoint: Callable[[str], Path], task: str
) -> None:
    sizes = Sizes((Canvas("3:2", 64, 96),), seconds=1)
    family = models.opened(Folder(make_checkpoint(task)), name="wan-tiny", sizes=sizes).family
    assert isinstance(family, WanFamily)
    assert isinstance(family, PreviewingFamily)
    stride = family.architecture.latent_stride
    with session_of(family) as session:
        text = family.encode_text(session, "a cat")
        state = family.start(Conditions(family.capabilities.canvases[0], text), seed=1, segment=0, steps=3)
        seen = []
        while not state.done:
            family.step(session, [state])
            seen.append(family.preview(session, state.latents, state.memory))
        (wanted,) = session.infer("preview", {"latent": state.latents[-1:]})["picture"]
    assert all(picture.shape == (64, 96, 3) and picture.dtype == np.uint8 for picture in seen)
    assert len({picture.tobytes() for picture in seen}) == 3
    blocks = seen[-1].reshape(64 // stride, stride, 96 // stride, stride, 3)
    assert (blocks == blocks[:, :1, :, :1]).all()
    colours = np.moveaxis(np.asarray(wanted), 0, -1) * 127.5 + 127.5
    np.testing.assert_allclose(blocks[:, 0, :, 0], colours, rtol=0, atol=1.5)
