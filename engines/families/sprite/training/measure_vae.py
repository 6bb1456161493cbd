"""Brings the VAE's latents to unit scale over this world: `python -m engines.families.sprite.training.measure_vae`.

The VAE itself was trained on blocks of the same colours. What changes from world to world is how often each latent
occurs, hence the mean and the deviation by which latents are normalised.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Final

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from engines.families.sprite import codes, world
from engines.families.sprite.training.data import table
from engines.families.sprite.training.drawing import Kind, draw
from engines.families.sprite.vae import Vae

_KINDS: Final[tuple[Kind, ...]] = ("root", "turn", "wait", "along")
_SAMPLES: Final = 96


def measure(vae: Vae, seed: int = 0) -> None:
    """Set `mean` and `deviation` from drawn videos of every canvas."""
    vae.mean.zero_()
    vae.deviation.fill_(1)
    latents = table(vae).double()
    rng = np.random.default_rng(seed)
    count = np.zeros(codes.COUNT)
    for number in range(_SAMPLES):
        grid = world.grid_of(list(world.CANVASES.values())[number % len(world.CANVASES)])
        sample = draw(rng, _KINDS[number % len(_KINDS)], grid, "stable")
        for moment in sample.target:
            count += np.bincount(sample.scene.codes(moment, grid).reshape(-1), minlength=codes.COUNT)
    share = torch.from_numpy(count / count.sum())[:, None]
    mean = (share * latents).sum(0)
    vae.mean.copy_(mean)
    vae.deviation.copy_((share * (latents - mean).square()).sum(0).sqrt())


def load_vae(path: Path) -> Vae:
    """A VAE from its halves, in float32."""
    vae = Vae()
    vae.load_state_dict({name: value.float() for name, value in load_file(path).items()})
    return vae.eval()


def main() -> None:
    """Measure, and write the weights back."""
    parser = argparse.ArgumentParser(description="Normalise the sprite-2 model's VAE over its world.")
    parser.add_argument("weights", type=Path, help="vae.safetensors, changed in place")
    path = parser.parse_args().weights
    vae = load_vae(path)
    measure(vae)
    partial = path.with_suffix(".partial")
    save_file({name: value.half().contiguous() for name, value in vae.state_dict().items()}, partial)
    partial.replace(path)


if __name__ == "__main__":
    main()
