"""Sharpens the VAE's decoder on this world: `python -m engines.families.sprite.training.train_decoder --help`.

The encoder stays as it is, and with it every latent: a denoiser that was trained before still fits. Latents are looked
up, a little noise is added so that the decoder forgives what a denoiser leaves behind, and the frames that they stand
for are known.
"""

from __future__ import annotations

import argparse
import math
import os
import time
from pathlib import Path
from typing import Final

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from engines.families.sprite import world
from engines.families.sprite.training.data import table
from engines.families.sprite.training.drawing import Kind, draw
from engines.families.sprite.training.measure_vae import load_vae
from engines.families.sprite.training.optim import Muon
from engines.families.sprite.vae import Vae
from engines.families.sprite.world import F32, U8

MUON_RATE: Final = 0.006
ADAM_RATE: Final = 6e-4
NOISE: Final = 0.15
"""Most of the noise on latents, in units of their deviation."""
SUBJECT_WEIGHT: Final = 4.0
EDGE_WEIGHT: Final = 2.0
BATCH: Final = 6
LATENTS: Final = 4
REPORT_EVERY: Final = 50
_KINDS: Final[tuple[Kind, ...]] = ("root", "turn", "stay", "wait", "along", "return")


def draw_clips(rng: np.random.Generator, latents: Tensor) -> tuple[Tensor, U8]:
    """Normalised latents [B, 4, 16, h, w] and the frames of each but the first, uint8 [B, 3, 4, H, W, 3]."""
    grid = world.grid_of(list(world.CANVASES.values())[int(rng.integers(len(world.CANVASES)))])
    inputs, frames = [], []
    for _ in range(BATCH):
        sample = draw(rng, _KINDS[int(rng.integers(len(_KINDS)))], grid, "newest")
        moments = (*sample.past[-2:], *sample.target)
        begin = int(rng.integers(len(moments) - LATENTS + 1))
        chosen = moments[begin : begin + LATENTS]
        inputs.append(np.stack([sample.scene.codes(moment, grid) for moment in chosen]))
        frames.append(np.stack([sample.scene.frames(moment, grid) for moment in chosen[1:]]))
    return latents[torch.from_numpy(np.stack(inputs))].movedim(-1, 2), np.stack(frames)


def weights_of(frames: U8) -> F32:
    """What an error weighs at each pixel, [..., H, W]: more in the sky where a subject is, and beside edges."""
    values = frames.astype(np.int16)
    sky_rows = frames.shape[-3] - world.TOKEN_PX
    subject = np.abs(values - values[..., :1, :1, :]).max(-1) > 6
    subject[..., sky_rows:, :] = False
    edge = np.zeros_like(subject)
    across = np.abs(np.diff(values, axis=-2)).max(-1) > 6
    down = np.abs(np.diff(values, axis=-3)).max(-1) > 6
    edge[..., 1:] |= across
    edge[..., :-1] |= across
    edge[..., 1:, :] |= down
    edge[..., :-1, :] |= down
    weight = 1 + SUBJECT_WEIGHT * subject + EDGE_WEIGHT * edge
    result: F32 = (weight / weight.mean()).astype(np.float32)
    return result


class Trainer:
    """The decoder and its optimisers."""

    def __init__(self, vae: Vae, seed: int) -> None:
        self.latents = table(vae)
        # channels_last convolutions in bf16 are three times faster on CPU.
        self.vae = vae.train().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.rng = np.random.default_rng(seed)
        torch.manual_seed(seed)
        self.muon = Muon(MUON_RATE)
        self.others: list[nn.Parameter] = []
        for name, parameter in vae.named_parameters():
            if name.startswith("encoder."):
                parameter.requires_grad_(False)
            elif parameter.ndim == 4 and name != "paint.7.weight":
                self.muon.add(parameter)
            else:
                self.others.append(parameter)
        self.adam = torch.optim.AdamW(self.others, ADAM_RATE, betas=(0.9, 0.95), weight_decay=0)

    def step(self, progress: float) -> float:
        """One batch at `progress` (0..1); the mean absolute error in grey levels."""
        scale = 0.02 + 0.49 * (1 + math.cos(math.pi * progress))
        for group in self.adam.param_groups:
            group["lr"] = ADAM_RATE * scale
        clean, frames = draw_clips(self.rng, self.latents)
        noised = clean + torch.randn_like(clean) * NOISE * torch.rand(len(clean), 1, 1, 1, 1)
        wanted = torch.from_numpy(frames).float().div_(127.5).sub_(1).movedim(-1, -3).flatten(1, 2)
        weight = torch.from_numpy(weights_of(frames))[:, :, :, None].flatten(1, 2)
        with torch.autocast("cpu", torch.bfloat16):
            decoded = self.vae.decode(self.vae.raw(noised))[:, 1:].float()
        error = decoded - wanted
        loss = (weight * error.abs()).mean() + 2 * (weight * error.square()).mean()
        self.adam.zero_grad(set_to_none=True)
        self.muon.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.others, 1.0)
        self.adam.step()
        self.muon.step(scale)
        grey: float = 127.5 * error.abs().mean().item()
        return grey


def main() -> None:
    """Read the arguments, train, write the weights."""
    parser = argparse.ArgumentParser(description="Sharpen the sprite-2 model's decoder.")
    parser.add_argument("--vae", type=Path, required=True, help="vae.safetensors to begin with")
    parser.add_argument("--out", type=Path, default=Path("vae.safetensors"), help="weights to write (fp16)")
    parser.add_argument("--seconds", type=float, default=600.0, help="training time")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument("--nice", type=int, default=10, help="how far to step back behind other work")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    os.nice(arguments.nice)
    torch.set_num_threads(arguments.threads)
    vae = load_vae(arguments.vae)
    trainer = Trainer(vae, arguments.seed)
    started, errors = time.monotonic(), []
    while (progress := (time.monotonic() - started) / arguments.seconds) < 1:
        errors.append(trainer.step(progress))
        if len(errors) % REPORT_EVERY == 0:
            print(
                f"step {len(errors)} of {progress:.0%}: {np.mean(errors[-REPORT_EVERY:]):.2f} grey levels", flush=True
            )
    save_file({k: v.half().contiguous() for k, v in vae.state_dict().items()}, arguments.out)
    print(f"done: {len(errors)} steps, weights in {arguments.out}")


if __name__ == "__main__":
    main()
