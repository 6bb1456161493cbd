"""The optimiser of both training programs: Muon for weight matrices, AdamW for everything else."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

import torch
from torch import Tensor

_NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
"""Coefficients of the quintic that drives all singular values towards one (Jordan et al., 2024)."""


def orthogonalise(gradients: Tensor) -> Tensor:
    """The nearest (semi-)orthogonal matrices to a batch [N, rows, columns]: five Newton-Schulz steps."""
    a, b, c = _NEWTON_SCHULZ
    x = gradients.bfloat16()
    tall = x.shape[-2] > x.shape[-1]
    x = x.mT if tall else x
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(5):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    result: Tensor = (x.mT if tall else x).float()
    return result


@dataclass
class Muon:
    """Momentum, then an orthogonalised step.  Matrices of equal shape are orthogonalised in one batch.

    A fused matrix (queries, keys and values in one) counts as `split` separate ones; a convolution's kernel
    counts as a matrix of its output channels.
    """

    rate: float = 0.02
    momentum: float = 0.95
    _groups: dict[tuple[torch.Size, int], list[Tensor]] = field(default_factory=lambda: defaultdict(list))
    _velocity: dict[Tensor, Tensor] = field(default_factory=dict)

    def add(self, parameter: Tensor, split: int = 1) -> None:
        """Take over one parameter of at least two dimensions."""
        self._groups[parameter.shape, split].append(parameter)
        self._velocity[parameter] = torch.zeros_like(parameter)

    def parameters(self) -> Iterable[Tensor]:
        """All that was added."""
        return self._velocity.keys()

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for parameter in self._velocity:
            parameter.grad = None

    @torch.no_grad()
    def step(self, scale: float) -> None:
        """One update at `scale` times the full rate."""
        for (shape, split), group in self._groups.items():
            updates = []
            for parameter in group:
                if parameter.grad is None:
                    raise ValueError(f"a parameter of shape {tuple(shape)} has no gradient: call backward() first")
                velocity = self._velocity[parameter]
                velocity.mul_(self.momentum).add_(parameter.grad)
                nesterov = parameter.grad.add(velocity, alpha=self.momentum)
                updates.append(nesterov.reshape(split, shape[0] // split, -1))
            steps = orthogonalise(torch.cat(updates))
            gain = max(1.0, steps.shape[1] / steps.shape[2]) ** 0.5
            for i, parameter in enumerate(group):
                step = steps[i * split : (i + 1) * split].reshape(shape)
                parameter.add_(step, alpha=-self.rate * scale * gain)

    def state(self) -> list[Tensor]:
        """The velocities, in the order in which the parameters were added."""
        return list(self._velocity.values())

    def load_state(self, state: list[Tensor]) -> None:
        """Take back what `state` gave."""
        for mine, saved in zip(self._velocity.values(), state, strict=True):
            mine.copy_(saved)
