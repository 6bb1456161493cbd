"""Trains the sprite model's VAE: `python -m engines.families.sprite.training.train_vae --help`.

Most batches are tight crops around the sprite, which learn several times faster than whole canvases; longer
clips of every canvas come in the second half, together with noise on the latents, so that the decoder
forgives what a denoiser leaves behind.  The rate follows a cosine over the steps.  A run can be stopped
(Ctrl-C, SIGTERM) and started again.
"""

from __future__ import annotations

import argparse
import math
import os
import signal
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from engines.families.sprite import world
from engines.families.sprite.training.optim import Muon
from engines.families.sprite.vae import Vae, latent_groups
from engines.families.sprite.world import F32, U8

ADAM_RATE = 2e-3
KL_WEIGHT = 3e-4
FOREGROUND_WEIGHT = 5.0
EDGE_WEIGHT = 3.0
LATE_NOISE = 0.15
"""Least deviation of the latents in the second half, in units of the untrained scale (about one)."""
REPORT_EVERY = 100
SAVE_EVERY = 300


def pixels(frames: U8) -> Tensor:
    """uint8 [..., H, W, 3] -> float [..., 3, H, W] in -1..1."""
    return torch.from_numpy(np.ascontiguousarray(frames)).float().div_(127.5).sub_(1).movedim(-1, -3)


def draw_clips(rng: np.random.Generator, progress: float) -> tuple[U8, F32]:
    """One batch: videos uint8 [B, T, H, W, 3] and the weight of each pixel [B, T, H, W] (mean one).

    Twelve in a hundred batches are pictures (T = 1), the rest clips of 5, 9 or 17 frames.
    """
    if rng.random() < 0.12:
        stills = np.stack([world.picture(_draw_sprite(rng), int(rng.integers(4))) for _ in range(64)])[:, None]
        return stills, np.ones(stills.shape[:4], np.float32)
    canvas, length, count = _draw_size(rng, progress)
    videos, weights = [], []
    for _ in range(count):
        background, direction = int(rng.integers(4)), int(rng.integers(4))
        lane = int(rng.integers(world.along_and_across(canvas, direction)[1]))
        corners = world.path(canvas, direction, int(rng.integers(10)), lane, np.arange(length))
        video = world.clip(_draw_sprite(rng), background, canvas, corners)
        videos.append(video)
        weights.append(_pixel_weight(video, background))
    weight = np.stack(weights)
    return np.stack(videos), weight / weight.mean()


def _draw_sprite(rng: np.random.Generator) -> world.Sprite:
    return world.random_named(rng) if rng.random() < 0.5 else world.random_pattern(rng)


def _draw_size(rng: np.random.Generator, progress: float) -> tuple[tuple[int, int], int, int]:
    """Canvas, frames and clips of a batch; crops of 48x48 at first, whole canvases late."""
    u = rng.random()
    if u < (0.9 if progress < 0.2 else 0.5):
        return (48, 48), 5, 16
    if u < 0.8 or progress < 0.5:
        return (64, 64), 9, 6
    return list(world.CANVASES.values())[rng.integers(3)], 17, 2


def _pixel_weight(video: U8, background: int) -> F32:
    """The sprite weighs more than the background, and a pixel beside any edge still more."""
    values = video.astype(np.int16)
    foreground = np.abs(values - world.BACKGROUND_RGB[background].astype(np.int16)).max(-1) > 6
    edge = np.zeros_like(foreground)
    across = np.abs(np.diff(values, axis=2)).max(-1) > 6
    down = np.abs(np.diff(values, axis=1)).max(-1) > 6
    edge[:, :, 1:] |= across
    edge[:, :, :-1] |= across
    edge[:, 1:] |= down
    edge[:, :-1] |= down
    weight: F32 = (1 + FOREGROUND_WEIGHT * foreground + EDGE_WEIGHT * edge).astype(np.float32)
    return weight


@dataclass(frozen=True)
class Losses:
    """What one batch costs."""

    absolute: Tensor
    squared: Tensor
    divergence: Tensor

    def total(self) -> Tensor:
        """The trained sum."""
        return self.absolute + 2 * self.squared + KL_WEIGHT * self.divergence


def losses(vae: Vae, video: Tensor, weight: Tensor, least_noise: float) -> Losses:
    """Encode, add noise, decode, compare.  video [B, T, 3, H, W], weight [B, T, 1, H, W]."""
    with torch.autocast(video.device.type, torch.bfloat16):
        mean, log_variance = (m.float() for m in vae.moments(latent_groups(video)))
        log_variance = log_variance.clamp(-8, 2)
        noise = torch.randn_like(mean) * (0.5 * log_variance).exp().clamp(min=least_noise)
        decoded = vae.decode((mean + noise).unflatten(0, (video.shape[0], -1))).float()  # type: ignore[no-untyped-call]
    error = decoded - video
    return Losses(
        absolute=(weight * error.abs()).mean(),
        squared=(weight * error.square()).mean(),
        divergence=0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).mean(),
    )


class Trainer:
    """The model, its two optimisers and the step count: everything that a stopped run needs to go on."""

    def __init__(self, device: torch.device, seed: int) -> None:
        torch.manual_seed(seed)
        self.device = device
        self.seed = seed
        self.step = 0
        self.seconds = 0.0
        vae = Vae()
        with torch.no_grad():
            # Start with little noise on the latents: the decoder must first see what it is given.
            last = vae.encoder[-1]
            assert isinstance(last, nn.Conv2d)
            assert last.bias is not None
            last.bias[world.LATENT_CHANNELS :] -= 5
        # channels_last convolutions in bf16 are three times faster on CPU.
        self.vae = vae.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.muon = Muon()
        ends = {id(last.weight), id(next(p for n, p in vae.named_parameters() if n == "paint.7.weight"))}
        self.others = []
        for parameter in self.vae.parameters():
            if parameter.ndim == 4 and id(parameter) not in ends:
                self.muon.add(parameter)
            else:
                self.others.append(parameter)
        self.adam = torch.optim.AdamW(self.others, ADAM_RATE, betas=(0.9, 0.95), weight_decay=0)

    def train_step(self, progress: float) -> Losses:
        """One batch at `progress` (0..1) of the whole run."""
        # Fresh generators for each step make a resumed run see what an unbroken one would have seen.
        rng = np.random.default_rng((self.seed, self.step))
        torch.manual_seed(int(rng.integers(2**62)))
        scale = min(1.0, (self.step + 1) / 40) * (0.01 + 0.495 * (1 + math.cos(math.pi * progress)))
        for group in self.adam.param_groups:
            group["lr"] = ADAM_RATE * scale
        videos, weight = draw_clips(rng, progress)
        result = losses(
            self.vae,
            pixels(videos).to(self.device),
            torch.from_numpy(weight).unsqueeze(2).to(self.device),
            LATE_NOISE if progress > 0.5 else 0.0,
        )
        self.adam.zero_grad(set_to_none=True)
        self.muon.zero_grad()
        result.total().backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.others, 1.0)
        self.adam.step()
        self.muon.step(scale)
        self.step += 1
        return result

    def save(self, path: Path) -> None:
        """Write everything, atomically."""
        state = {
            "vae": self.vae.state_dict(),
            "adam": self.adam.state_dict(),
            "muon": self.muon.state(),
            "step": self.step,
            "seconds": self.seconds,
        }
        partial = path.with_suffix(".partial")
        torch.save(state, partial)
        partial.replace(path)

    def resume(self, path: Path) -> None:
        """Go on from what `save` wrote."""
        state = torch.load(path, map_location=self.device)
        self.vae.load_state_dict(state["vae"])
        self.adam.load_state_dict(state["adam"])
        self.muon.load_state(state["muon"])
        self.step, self.seconds = state["step"], state["seconds"]


@torch.no_grad()
def measure_latents(vae: Vae, seed: int, batches: int = 24) -> None:
    """Set the VAE's mean and deviation from clips of every canvas, so that encoded latents have unit scale."""
    rng = np.random.default_rng(seed)
    device = next(vae.parameters()).device
    means = []
    for i in range(batches):
        canvas = list(world.CANVASES.values())[i % 3]
        direction = int(rng.integers(4))
        lane = int(rng.integers(world.along_and_across(canvas, direction)[1]))
        corners = world.path(canvas, direction, int(rng.integers(10)), lane, np.arange(17))
        video = world.clip(_draw_sprite(rng), i % 4, canvas, corners)
        groups = latent_groups(pixels(video[None])).to(device)
        means.append(vae.moments(groups)[0].float().movedim(1, 0).flatten(1))
    values = torch.cat(means, 1)
    vae.mean.copy_(values.mean(1))
    vae.deviation.copy_(values.std(1))


def export_weights(vae: Vae, path: Path, seed: int = 0) -> None:
    """Measure the latents' scale and write the weights as fp16 safetensors, atomically."""
    measure_latents(vae, seed)
    half = {name: value.detach().cpu().half().contiguous() for name, value in vae.state_dict().items()}
    partial = path.with_suffix(".partial")
    save_file(half, partial)
    partial.replace(path)


def run(trainer: Trainer, steps: int, seconds: float | None, state: Path, out: Path) -> None:
    """Train until `steps` or `seconds` are used up, whichever comes first; the rate falls towards that end."""
    started = time.monotonic() - trainer.seconds
    recent: list[tuple[float, float, float]] = []
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    while not stop.is_set():
        trainer.seconds = time.monotonic() - started
        progress = trainer.step / steps
        if seconds is not None:
            progress = max(progress, trainer.seconds / seconds)
        if progress >= 1:
            break
        result = trainer.train_step(progress)
        recent.append((result.absolute.item(), result.squared.item(), result.divergence.item()))
        if trainer.step % REPORT_EVERY == 0:
            l1, l2, kl = np.mean(recent, 0)
            recent.clear()
            print(
                f"step {trainer.step}/{steps} {trainer.seconds:.0f}s l1 {l1:.4f} l2 {l2:.5f} kl {kl:.3f}",
                flush=True,
            )
        if trainer.step % SAVE_EVERY == 0:
            trainer.save(state)
            export_weights(trainer.vae, out)
    trainer.save(state)
    export_weights(trainer.vae, out)
    end = "stopped" if stop.is_set() else "done"
    print(f"{end}: {trainer.step} steps in {trainer.seconds:.0f}s, weights in {out}", flush=True)


def main() -> None:
    """Read the arguments, train, write the weights."""
    parser = argparse.ArgumentParser(description="Train the sprite model's VAE.")
    parser.add_argument("--out", type=Path, default=Path("vae.safetensors"), help="weights to write (fp16)")
    parser.add_argument("--state", type=Path, default=Path("vae.state"), help="checkpoint; resumed from if it exists")
    parser.add_argument("--steps", type=int, default=6000, help="length of the whole run")
    parser.add_argument("--seconds", type=float, help="end after this training time if the steps take longer")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads")
    parser.add_argument("--nice", type=int, default=5, help="how far to step back behind other work")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    os.nice(arguments.nice)
    torch.set_num_threads(arguments.threads)
    trainer = Trainer(torch.device("cuda" if torch.cuda.is_available() else "cpu"), arguments.seed)
    if arguments.state.exists():
        trainer.resume(arguments.state)
    run(trainer, arguments.steps, arguments.seconds, arguments.state, arguments.out)


if __name__ == "__main__":
    main()
