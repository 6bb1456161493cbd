"""The score: what the net has not learnt it does not get."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
from numpy.typing import NDArray

torch = pytest.importorskip("torch", reason="the weights' own modules need longtake[build]")

from engines.families.sprite import world  # noqa: E402
from engines.families.sprite.training.score import Scorer, quick, table  # noqa: E402

GRID = world.Grid(5, 5)


class Noise:
    """A model whose denoiser answers with noise, and whose decoder shows one colour for each latent."""

    def __init__(self) -> None:
        self.rng = np.random.default_rng(0)

    def infer(self, component: str, inputs: Mapping[str, NDArray[np.generic]]) -> dict[str, NDArray[np.generic]]:
        if component == "dit":
            return {"x0": self.rng.standard_normal(inputs["tokens"].shape).astype(np.float32)}
        if component == "vae_encoder":
            batch, _, _, height, width = inputs["frames"].shape
            return {"latent": np.zeros((batch, 16, height // 8, width // 8), np.float32)}
        latent = np.asarray(inputs["latent"])
        count = 1 if component == "vae_decoder_first" else 4
        blocks = np.repeat(np.repeat(np.clip(latent[:, None, :3], -1, 1), 8, 3), 8, 4)
        frames = np.repeat(blocks, count, 1).astype(np.float32)
        return {"frame" if count == 1 else "frames": frames, "cache": latent}


def test_a_net_of_noise_falls_to_chance_in_every_row() -> None:
    scorer = Scorer(Noise(), GRID, cases=2, steps=1, seed=3)
    for found in quick(scorer):
        for name, values in found.items():
            assert values, name
            if not name.endswith(("swapped", "sky")):
                assert np.mean(values) <= 0.25, name


def test_the_table_counts_every_canvas() -> None:
    lines = list(table(Noise(), lambda scorer: iter([scorer.first(1, 1.0)]), cases=2, steps=1, seed=0))
    assert lines[:2] == ["| row | n | % |", "|---|---|---|"]
    assert lines[2] == "| first segment, 1 named | 6 | 0.0 |"
