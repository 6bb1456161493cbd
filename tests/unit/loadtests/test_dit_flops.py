"""The count of a step's products, against the model that it describes."""

from __future__ import annotations

import pytest

from loadtests.benchmarks.dit_flops import SPRITE, DitShape, step_flops


def test_one_block_is_counted_by_hand() -> None:
    shape = DitShape(width=2, blocks=1, text=1, features=3, segments=1, level_features=4, turns=1)
    tokens = 1 + 2
    block = tokens * 2 * (3 * 2 + 2 + 8 + 8) + 2 * tokens * tokens * 2
    ends = 2 * 3 * 2 + tokens * 2 * 3
    levels = 4 * 2 + 2 * 2 + 2 * 2 + 2 * 12 + 2 * 4

    assert step_flops(shape, 2) == 2 * (block + ends + levels + tokens * 2)


def test_attention_grows_with_the_square_of_the_tokens() -> None:
    second_difference = step_flops(SPRITE, 102) - 2 * step_flops(SPRITE, 101) + step_flops(SPRITE, 100)

    assert second_difference == 2 * SPRITE.blocks * 2 * 2 * SPRITE.width


def test_the_shape_is_the_models_and_the_count_is_what_torch_counts() -> None:
    torch = pytest.importorskip("torch")
    from torch.utils.flop_counter import FlopCounterMode

    from engines.families.sprite import denoiser

    shape = denoiser.WIDTH, denoiser.BLOCKS, 2 * denoiser.FREQUENCIES
    assert (SPRITE.width, SPRITE.blocks, SPRITE.level_features) == shape
    count = 3 * 45
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        denoiser.Denoiser()(
            torch.zeros(1, SPRITE.text, dtype=torch.long),
            torch.zeros(1, SPRITE.text, 2, dtype=torch.long),
            torch.zeros(1, count, SPRITE.features),
            torch.zeros(1, count, 2, dtype=torch.long),
            torch.zeros(count, dtype=torch.long),
            torch.zeros(1, count, dtype=torch.long),
            torch.zeros(count, dtype=torch.long),
            torch.ones(1, count),
            torch.zeros(1, SPRITE.segments),
        )

    assert step_flops(SPRITE, count) == counter.get_total_flops()
