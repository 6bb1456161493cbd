"""Trains the sprite model's denoiser: `python -m engines.families.sprite.training.train_dit --help`.

Half of the batches are first segments, half extensions.  The net predicts clean latents from noised ones.
The rate is flat for half of the time, then falls: what is fine in the picture, and the holding together
over many extensions, come as it falls.  A run can be stopped (Ctrl-C, SIGTERM) and started again.
"""

from __future__ import annotations

import argparse
import functools
import os
import signal
import threading
import time
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from engines.families.sprite import packing, world
from engines.families.sprite.captions import VOCAB
from engines.families.sprite.dit import BLOCKS, WIDTH, Dit, Spread, TextTable
from engines.families.sprite.training.data import ATLAS_CLASSES, SLOT_CLASSES, UNKNOWN, Batch, Kind, Maker
from engines.families.sprite.training.optim import Muon
from engines.families.sprite.vae import Vae

ADAM_RATE: Final = 3e-3
LEAST_RATE: Final = 0.02
FLAT_PART: Final = 0.5
EXTENSIONS: Final = 0.5
CANVAS_SHARES: Final = {"1:1": 0.3, "16:9": 0.35, "9:16": 0.35}
"""To go on over the long canvases, where a bounce lasts longer, is learnt last."""
BATCH: Final = {"1:1": 32, "16:9": 24, "9:16": 24}
FOREGROUND_WEIGHT: Final = 4.0
AUXILIARY_WEIGHT: Final = 0.15
SHORT_NOISE: Final = (0.5, 0.8)
"""History is noised up to this level, in this share of samples: a model then forgives its own errors."""
ANCHOR_NOISE: Final = (0.2, 0.3)
EMA_DECAY: Final = 0.997
REPORT_EVERY: Final = 100
SAVE_EVERY_SECONDS: Final = 240.0
MASKED: Final = -1e4


@functools.cache
def spread_over(lengths: tuple[int, ...]) -> Spread:
    """Brings a value per segment [B, 6, D] to all tokens, `lengths` tokens for each segment in turn."""

    def spread(values: Tensor) -> Tensor:
        parts = [values[:, i : i + 1].expand(-1, n, -1) for i, n in enumerate(lengths) if n]
        return torch.cat(parts, 1)

    return spread


class Denoiser(nn.Module):
    """All that is trained: text table, net, and the auxiliary heads, which are dropped afterwards.

    The heads ask the middle of the net which quadrant of the sprite, and which nameable token, each place
    shows. Copying then begins some hundred steps earlier.
    """

    def __init__(self) -> None:
        super().__init__()
        self.text = TextTable(len(VOCAB))
        self.dit = Dit()
        self.auxiliary = nn.Linear(WIDTH, 2 * (ATLAS_CLASSES + SLOT_CLASSES))

    def weights(self) -> dict[str, Tensor]:
        """The state without the auxiliary heads."""
        return {k: v for k, v in self.state_dict().items() if not k.startswith("auxiliary.")}


@dataclass(frozen=True)
class Losses:
    """What one batch costs."""

    each: Tensor
    """[B]: weighted squared error of each sample."""
    auxiliary: Tensor

    def total(self) -> Tensor:
        """The trained sum."""
        return self.each.mean() + AUXILIARY_WEIGHT * self.auxiliary


def draw_levels(batch: Batch) -> Tensor:
    """Noise levels [B, 6]: logit-normal and shifted for the target, often a little for the history."""
    count = len(batch.tasks)
    levels = torch.zeros(count, len(packing.SEGMENTS))
    even = torch.sigmoid(torch.randn(count))
    time_ = (packing.SHIFT * even / (1 + (packing.SHIFT - 1) * even)).clamp(1e-3, 1)
    levels[:, packing.SEGMENTS.index("rest")] = time_
    levels[:, packing.SEGMENTS.index("first")] = torch.where(batch.first_given, 0.0, time_)
    if batch.kind == "extension":
        for name, (most, share) in (("short", SHORT_NOISE), ("anchor", ANCHOR_NOISE)):
            levels[:, packing.SEGMENTS.index(name)] = torch.rand(count) * most * (torch.rand(count) < share)
    return levels


def losses(model: Denoiser, batch: Batch) -> Losses:
    """Noise the target, predict it, compare."""
    levels = draw_levels(batch)
    where = batch.positions
    segment = torch.from_numpy(where.segment)
    clean = torch.cat([t for t in (batch.reference, batch.anchor, batch.short, batch.target) if t is not None], 1)
    noise_level = levels[:, segment][..., None]
    tokens = (1 - noise_level) * clean + noise_level * torch.randn_like(clean)
    device = next(model.parameters()).device
    names = dict(where.lengths)
    lengths = (packing.TEXT_TOKENS, *(names.get(name, 0) for name in packing.SEGMENTS[1:]))
    whole = torch.cat([torch.zeros(packing.TEXT_TOKENS, dtype=torch.long), segment])
    hidden = torch.where(batch.present[:, whole], 0.0, MASKED)[:, None, None]
    dit = model.dit
    row, col, frame = (torch.from_numpy(a).to(device) for a in (where.row, where.col, where.frame))
    with torch.autocast(device.type, torch.bfloat16):
        x0, features = dit.run(
            tokens.to(device),
            model.text(batch.token_ids.to(device)),
            dit.rows[row] + dit.cols[col] + dit.frames[frame],
            levels.to(device),
            spread_over(lengths),
            hidden.to(device, torch.bfloat16),
        )
        target = slice(packing.TEXT_TOKENS + where.target.start, None)
        guesses = model.auxiliary(features[:, target])
    weight = 1 + FOREGROUND_WEIGHT * batch.foreground
    weight = weight / weight.mean()
    # A given first frame is clean already.
    given = batch.first_given[:, None] & (segment[where.target] == packing.SEGMENTS.index("first"))
    weight = (weight * ~given)[..., None].to(device)
    error = (weight * (x0[:, target].float() - batch.target.to(device)).square()).mean((1, 2))
    time_ = levels[:, packing.SEGMENTS.index("rest")].to(device)
    return Losses(error / time_.clamp(min=0.4).square(), _auxiliary_loss(guesses.float(), batch))


def _auxiliary_loss(guesses: Tensor, batch: Batch) -> Tensor:
    """Cross entropy of the four guesses; the many background tokens count less."""
    atlas_weight = torch.ones(ATLAS_CLASSES)
    atlas_weight[:4] = 0.3
    slot_weight = torch.ones(SLOT_CLASSES)
    slot_weight[4] = 0.3
    device = guesses.device
    parts = guesses.flatten(0, 1).split([ATLAS_CLASSES, ATLAS_CLASSES, SLOT_CLASSES, SLOT_CLASSES], 1)  # type: ignore[no-untyped-call]
    answers = (*batch.atlas, *batch.slots)
    weights = (atlas_weight, atlas_weight, slot_weight, slot_weight)
    return sum(
        (
            functional.cross_entropy(part, answer.flatten().to(device), weight.to(device), ignore_index=UNKNOWN)
            for part, answer, weight in zip(parts, answers, weights, strict=True)
        ),
        start=torch.zeros((), device=device),
    )


class Trainer:
    """Model, moving average, optimisers and counters: everything that a stopped run needs to go on."""

    def __init__(self, vae: Vae, device: torch.device, seed: int) -> None:
        torch.manual_seed(seed)
        self.device = device
        self.seed = seed
        self.step = 0
        self.seconds = 0.0
        vae = vae.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.maker = Maker(vae)
        self.model = Denoiser().to(device)
        self.average = Denoiser().to(device)
        self.average.load_state_dict(self.model.state_dict())
        self.muon = Muon()
        matrices = set()
        for name, parameter in self.model.dit.blocks.named_parameters():
            if name.endswith(("qkv.weight", "out.weight", "up.weight", "down.weight")):
                self.muon.add(parameter, split=3 if "qkv" in name else 1)
                matrices.add(id(parameter))
        self.others = [p for p in self.model.parameters() if id(p) not in matrices]
        self.adam = torch.optim.AdamW(self.others, ADAM_RATE, betas=(0.9, 0.98), weight_decay=0)

    def compile(self) -> None:
        """Fuse the blocks; each canvas and kind of segment is compiled once."""
        torch._dynamo.config.recompile_limit = 16 * BLOCKS  # noqa: SLF001 - it has no other name
        for block in self.model.dit.blocks:
            block.compile(dynamic=False)

    def train_step(self, progress: float) -> tuple[Batch, Losses]:
        """One batch at `progress` (0..1) of the whole run."""
        # Fresh generators for each step make a resumed run see what an unbroken one would have seen.
        rng = np.random.default_rng((self.seed, self.step))
        torch.manual_seed(int(rng.integers(2**62)))
        scale = min(1.0, (self.step + 1) / 50)
        scale *= LEAST_RATE + (1 - LEAST_RATE) * min(1.0, (1 - progress) / (1 - FLAT_PART))
        for group in self.adam.param_groups:
            group["lr"] = ADAM_RATE * scale
        aspect = str(rng.choice(list(CANVAS_SHARES), p=list(CANVAS_SHARES.values())))
        kind: Kind = "extension" if rng.random() < EXTENSIONS else "root"
        batch = self.maker.batch(kind, BATCH[aspect], world.CANVASES[aspect], rng)
        result = losses(self.model, batch)
        self.adam.zero_grad(set_to_none=True)
        self.muon.zero_grad()
        result.total().backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.others, 1.0)
        self.adam.step()
        self.muon.step(scale)
        self.step += 1
        self._follow()
        return batch, result

    @torch.no_grad()
    def _follow(self) -> None:
        """Move the average towards the model, faster in the beginning."""
        decay = min(EMA_DECAY, (1 + self.step) / (10 + self.step))
        torch._foreach_lerp_(list(self.average.parameters()), list(self.model.parameters()), 1 - decay)

    def save(self, state: Path, out: Path) -> None:
        """Write everything, and the averaged weights as fp16 safetensors, both atomically."""
        whole = {
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "adam": self.adam.state_dict(),
            "muon": self.muon.state(),
            "step": self.step,
            "seconds": self.seconds,
        }
        partial = state.with_suffix(".partial")
        torch.save(whole, partial)
        partial.replace(state)
        partial = out.with_suffix(".partial")
        save_file({k: v.cpu().half().contiguous() for k, v in self.average.weights().items()}, partial)
        partial.replace(out)

    def resume(self, state: Path) -> None:
        """Go on from what `save` wrote."""
        saved = torch.load(state, map_location=self.device)
        self.model.load_state_dict(saved["model"])
        self.average.load_state_dict(saved["average"])
        self.adam.load_state_dict(saved["adam"])
        self.muon.load_state(saved["muon"])
        self.step, self.seconds = saved["step"], saved["seconds"]


class Report:
    """Mean errors by task since the last line."""

    def __init__(self) -> None:
        self.errors: dict[str, list[float]] = defaultdict(list)

    def add(self, batch: Batch, result: Losses) -> None:
        """Note one step."""
        for task, error in zip(batch.tasks, result.each.tolist(), strict=True):
            self.errors[task].append(error)
        self.errors["auxiliary"].append(result.auxiliary.item())

    def line(self) -> str:
        """The means, and start anew."""
        text = " ".join(f"{task} {np.mean(values):.3f}" for task, values in sorted(self.errors.items()))
        self.errors.clear()
        return text


def run(trainer: Trainer, seconds: float, state: Path, out: Path) -> None:
    """Train until `seconds` of training are used up, those before a resume counted in."""
    started = time.monotonic() - trainer.seconds
    saved = trainer.seconds
    report = Report()
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    while (progress := trainer.seconds / seconds) < 1 and not stop.is_set():
        report.add(*trainer.train_step(progress))
        trainer.seconds = time.monotonic() - started
        if trainer.step % REPORT_EVERY == 0:
            print(f"step {trainer.step} {trainer.seconds:.0f}s of {seconds:.0f}s {report.line()}", flush=True)
        if trainer.seconds - saved > SAVE_EVERY_SECONDS:
            trainer.save(state, out)
            saved = trainer.seconds
    trainer.save(state, out)
    end = "stopped" if stop.is_set() else "done"
    print(f"{end}: {trainer.step} steps in {trainer.seconds:.0f}s, weights in {out}", flush=True)


def main() -> None:
    """Read the arguments, train, write the weights."""
    parser = argparse.ArgumentParser(description="Train the sprite model's denoiser on a trained VAE.")
    parser.add_argument("--vae", type=Path, required=True, help="vae.safetensors that train_vae wrote")
    parser.add_argument("--out", type=Path, default=Path("dit.safetensors"), help="weights to write (fp16 average)")
    parser.add_argument("--state", type=Path, default=Path("dit.state"), help="checkpoint; resumed from if it exists")
    ending = parser.add_mutually_exclusive_group()
    ending.add_argument("--seconds", type=float, default=3000.0, help="training time of the whole run")
    ending.add_argument("--until", type=datetime.fromisoformat, help="end at this time (ISO, UTC) instead")
    parser.add_argument("--no-compile", action="store_true", help="do without torch.compile")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads")
    parser.add_argument("--nice", type=int, default=5, help="how far to step back behind other work")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    os.nice(arguments.nice)
    torch.set_num_threads(arguments.threads)
    vae = Vae()
    vae.load_state_dict({k: v.float() for k, v in load_file(arguments.vae).items()})
    trainer = Trainer(vae, torch.device("cuda" if torch.cuda.is_available() else "cpu"), arguments.seed)
    if arguments.state.exists():
        trainer.resume(arguments.state)
    seconds = arguments.seconds
    if arguments.until is not None:
        left = arguments.until.replace(tzinfo=UTC) - datetime.now(UTC)
        seconds = trainer.seconds + max(0.0, left.total_seconds())
    if not arguments.no_compile:
        trainer.compile()
    run(trainer, seconds, arguments.state, arguments.out)


if __name__ == "__main__":
    main()
