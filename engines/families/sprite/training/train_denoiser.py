"""Trains the sprite-2 model's denoiser: `python -m engines.families.sprite.training.train_denoiser --help`.

First segments, extensions under a camera that holds and under one that pans, on every canvas. The rate is flat for half
of the time, then falls. A run can be stopped (a stop file, Ctrl-C, SIGTERM) and started again.
"""

from __future__ import annotations

import argparse
import os
import signal
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn

from engines.families.sprite.denoiser import BLOCKS, Denoiser
from engines.families.sprite.training.batches import Batches, Drawn
from engines.families.sprite.training.data import table
from engines.families.sprite.training.losses import Losses, auxiliary_heads, losses
from engines.families.sprite.training.measure_vae import load_vae
from engines.families.sprite.training.optim import Muon
from engines.families.sprite.vae import Vae

ADAM_RATE: Final = 3e-3
LEAST_RATE: Final = 0.02
FLAT_PART: Final = 0.5
EMA_DECAY: Final = 0.997
REPORT_EVERY: Final = 50
SAVE_EVERY_SECONDS: Final = 180.0


class Trainer:
    """Net, moving average, optimisers and counters: everything that a stopped run needs to go on."""

    def __init__(self, vae: Vae, seed: int, *, device: str = "cpu", times: int = 1, workers: int = 0) -> None:
        """`times`: how many times as large the batches are as on a CPU; `workers` processes draw them ahead."""
        torch.manual_seed(seed)
        self.device = device
        self.step = 0
        self.seconds = 0.0
        self.batches = Batches(table(vae), seed, times)
        self.workers = workers
        self.drawn: Iterator[Drawn] | None = None
        self.net, self.average = Denoiser().to(device), Denoiser().to(device)
        self.average.load_state_dict(self.net.state_dict())
        self.heads = auxiliary_heads().to(device)
        self.muon = Muon()
        matrices = set()
        for name, parameter in self.net.blocks.named_parameters():
            if name.endswith(("qkv.weight", "out.weight", "up.weight", "down.weight")):
                self.muon.add(parameter, split=3 if "qkv" in name else 1)
                matrices.add(id(parameter))
        everything = [*self.net.parameters(), *self.heads.parameters()]
        self.others = [p for p in everything if id(p) not in matrices]
        self.adam = torch.optim.AdamW(self.others, ADAM_RATE, betas=(0.9, 0.98), weight_decay=0)

    def compile(self) -> None:
        """Fuse the blocks; each canvas and kind of batch is compiled once."""
        torch._dynamo.config.recompile_limit = 16 * BLOCKS  # noqa: SLF001 - it has no other name
        for block in self.net.blocks:
            block.compile(dynamic=False)

    def train_step(self, progress: float) -> tuple[str, Losses]:
        """One batch at `progress` (0..1) of the whole run; its kind and what it cost."""
        if self.drawn is None:
            self.drawn = self.batches.since(self.step, self.workers)
        kind, seed, batch = next(self.drawn)
        # A fresh generator for each step makes a resumed run see what an unbroken one would have seen.
        torch.manual_seed(seed)
        scale = min(1.0, (self.step + 1) / 50)
        scale *= LEAST_RATE + (1 - LEAST_RATE) * min(1.0, (1 - progress) / (1 - FLAT_PART))
        for group in self.adam.param_groups:
            group["lr"] = ADAM_RATE * scale
        result = losses(self.net, self.heads, batch.to(self.device))
        self.adam.zero_grad(set_to_none=True)
        self.muon.zero_grad()
        result.total.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.others, 1.0)
        self.adam.step()
        self.muon.step(scale)
        self.step += 1
        self._follow()
        return kind, result

    @torch.no_grad()
    def _follow(self) -> None:
        """Move the average towards the net, faster in the beginning."""
        decay = min(EMA_DECAY, (1 + self.step) / (10 + self.step))
        torch._foreach_lerp_(list(self.average.parameters()), list(self.net.parameters()), 1 - decay)

    def save(self, state: Path, out: Path) -> None:
        """Write everything, and the averaged weights as fp16 safetensors, both atomically."""
        whole = {
            "net": self.net.state_dict(),
            "average": self.average.state_dict(),
            "heads": self.heads.state_dict(),
            "adam": self.adam.state_dict(),
            "muon": self.muon.state(),
            "step": self.step,
            "seconds": self.seconds,
        }
        partial = state.with_suffix(".partial")
        torch.save(whole, partial)
        partial.replace(state)
        partial = out.with_suffix(".partial")
        save_file({k: v.half().contiguous() for k, v in self.average.state_dict().items()}, partial)
        partial.replace(out)

    def resume(self, state: Path) -> None:
        """Go on from what `save` wrote."""
        saved = torch.load(state, map_location=self.device)
        self.net.load_state_dict(saved["net"])
        self.average.load_state_dict(saved["average"])
        self.heads.load_state_dict(saved["heads"])
        self.adam.load_state_dict(saved["adam"])
        self.muon.load_state(saved["muon"])
        self.step, self.seconds, self.drawn = saved["step"], saved["seconds"], None


class Report:
    """Mean errors by kind of batch since the last line."""

    def __init__(self) -> None:
        self.errors: defaultdict[str, list[float]] = defaultdict(list)

    def add(self, kind: str, result: Losses) -> None:
        """Take in one batch."""
        for name, value in result.parts.items():
            self.errors[f"{kind} {name}"].append(value)

    def line(self) -> str:
        """The means, and forget them."""
        text = " | ".join(f"{name} {np.mean(values):.3f}" for name, values in sorted(self.errors.items()))
        self.errors.clear()
        return text


def run(trainer: Trainer, seconds: float, state: Path, out: Path, stop_file: Path) -> None:
    """Train until `seconds` of training are used up, those before a resume counted in, or the stop file is there."""
    started = time.monotonic() - trainer.seconds
    saved = begun = trainer.seconds
    report = Report()
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    # A resumed run has a schedule of its own: flat again, then falling to its end.
    while (progress := (trainer.seconds - begun) / max(seconds - begun, 1e-9)) < 1 and not stop.is_set():
        if stop_file.exists():
            stop.set()
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
    parser = argparse.ArgumentParser(description="Train the sprite-2 model's denoiser on a trained VAE.")
    parser.add_argument("--vae", type=Path, required=True, help="vae.safetensors")
    parser.add_argument("--out", type=Path, default=Path("denoiser.safetensors"), help="weights to write (fp16)")
    parser.add_argument("--state", type=Path, default=Path("denoiser.state"), help="checkpoint; resumed from if there")
    parser.add_argument("--stop-file", type=Path, default=Path("denoiser.stop"), help="training ends where it appears")
    ending = parser.add_mutually_exclusive_group()
    ending.add_argument("--seconds", type=float, default=4000.0, help="training time of the whole run")
    ending.add_argument("--until", type=datetime.fromisoformat, help="end at this time (ISO, UTC) instead")
    parser.add_argument("--no-compile", action="store_true", help="do without torch.compile")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument("--device", default="cpu", help="cpu, or cuda")
    parser.add_argument("--times", type=int, default=1, help="how many times as large the batches are")
    parser.add_argument("--workers", type=int, default=0, help="processes that draw batches ahead")
    parser.add_argument("--nice", type=int, default=10, help="how far to step back behind other work")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    os.nice(arguments.nice)
    torch.set_num_threads(arguments.threads)
    trainer = Trainer(
        load_vae(arguments.vae),
        arguments.seed,
        device=arguments.device,
        times=arguments.times,
        workers=arguments.workers,
    )
    if arguments.state.exists():
        trainer.resume(arguments.state)
    seconds = arguments.seconds
    if arguments.until is not None:
        left = arguments.until.replace(tzinfo=UTC) - datetime.now(UTC)
        seconds = trainer.seconds + max(0.0, left.total_seconds())
    if not arguments.no_compile:
        trainer.compile()
    run(trainer, seconds, arguments.state, arguments.out, arguments.stop_file)


if __name__ == "__main__":
    main()
