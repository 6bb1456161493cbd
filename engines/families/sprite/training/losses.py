"""What a training batch costs: the denoising error of the target, and two auxiliary guesses from the net's middle."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from engines.families.sprite.denoiser import WIDTH, Denoiser, Spread
from engines.families.sprite.packing import SEGMENTS
from engines.families.sprite.training.data import Batch
from engines.families.sprite.words import SLOTS
from engines.families.sprite.world import LABELS, SUBJECTS_MAX

AUXILIARY_WEIGHT: Final = 0.15
SHIFT: Final = 6.0
"""How far the target's noise levels are shifted towards noise: what is decided, is decided there."""
MEMORY_NOISE: Final = (0.2, 0.3)
"""Remembered columns are noised up to this level, in this share of samples: a model then forgives its own errors."""
SHORT_NOISE: Final = (0.3, 0.5)
LEAST_TIME: Final = 0.4
"""Errors are weighed by one over the squared time, at least this."""


def auxiliary_heads() -> nn.Linear:
    """Guesses which label each of a token's four blocks shows, and which subject stands there."""
    return nn.Linear(WIDTH, 4 * LABELS + SUBJECTS_MAX + 1)


@dataclass(frozen=True)
class Losses:
    """What one batch costs."""

    total: Tensor
    """The trained sum."""
    parts: dict[str, float]
    """For the report: mean errors of subjects, of scenery that is recalled and that is invented, of everything."""


def spread_over(lengths: tuple[int, ...]) -> Spread:
    """Brings a value per segment [B, 5, D] to all tokens, `lengths` tokens for each segment in turn."""

    def spread(values: Tensor) -> Tensor:
        return torch.cat([values[:, i : i + 1].expand(-1, n, -1) for i, n in enumerate(lengths) if n], 1)

    return spread


def draw_levels(count: int) -> Tensor:
    """Noise levels [B, 5]: logit-normal and shifted for the target, often a little for what is remembered."""
    result = torch.zeros(count, len(SEGMENTS))
    even = torch.sigmoid(torch.randn(count))
    result[:, SEGMENTS.index("target")] = (SHIFT * even / (1 + (SHIFT - 1) * even)).clamp(1e-3, 1)
    for name, (most, share) in (("memory", MEMORY_NOISE), ("short", SHORT_NOISE)):
        result[:, SEGMENTS.index(name)] = torch.rand(count) * most * (torch.rand(count) < share)
    return result


def losses(net: Denoiser, heads: nn.Linear, batch: Batch) -> Losses:
    """Noise the target, predict it, compare."""
    levels = draw_levels(len(batch.ids)).to(batch.tokens.device)
    level = levels[:, batch.segment][..., None]
    noised = (1 - level) * batch.tokens + level * torch.randn_like(batch.tokens)
    with torch.autocast(batch.tokens.device.type, torch.bfloat16):
        x0, features = net.run(
            batch.ids,
            noised,
            batch.places,
            batch.role,
            batch.pan,
            batch.present,
            levels,
            spread_over(batch.lengths),
        )
        guesses = heads(features[:, -batch.count :]).float()
    assert x0.shape[1] == SLOTS + batch.tokens.shape[1]
    error = (x0[:, -batch.count :].float() - batch.tokens[:, -batch.count :]).square().mean(-1)
    error = error / levels[:, -1:].clamp(min=LEAST_TIME).square()
    weight = batch.weight / batch.weight.mean()
    main = (weight * error).mean()
    auxiliary = _guessed_wrong(guesses, batch, weight)
    parts = {"all": main.item(), "aux": auxiliary.item()}
    for name, chosen in (("subject", batch.subject > 0), ("recalled", batch.recalled), ("fresh", batch.fresh)):
        if chosen.any():
            parts[name] = error[chosen].mean().item()
    return Losses(main + AUXILIARY_WEIGHT * auxiliary, parts)


def _guessed_wrong(guesses: Tensor, batch: Batch, weight: Tensor) -> Tensor:
    """Cross entropy of both guesses [B, T, 43], weighed like the error."""
    labels, subject = guesses.split([4 * LABELS, SUBJECTS_MAX + 1], -1)  # type: ignore[no-untyped-call]
    wrong = functional.cross_entropy(labels.reshape(-1, LABELS), batch.labels.flatten(), reduction="none")
    missed = functional.cross_entropy(subject.flatten(0, 1), batch.subject.flatten(), reduction="none")
    each: Tensor = wrong.view(-1, 4).mean(-1) + missed
    return (weight.flatten() * each).mean()
