"""How large a world is: drawn from its seed."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random


@dataclass(frozen=True)
class Shape:
    """How large a world is."""

    clients: int = 4
    doors: int = 2
    denoisers: int = 2
    slots: int = 3
    troubled_s: float = 8.0
    """Faults end after so long."""
    watching: bool = True
    """Whether front doors hold Watch streams."""
    shuffle: bool = False
    checkpoint_share: float = 0.02
    """Of the compute time."""
    kept: int = 32
    """Finished segments that a Denoiser holds."""
    held: int = 64
    """Unfinished ones."""
    step_s: tuple[float, float] = (0.01, 0.2)
    """How long a denoising step takes; some take no time at all."""

    @property
    def roomy(self) -> bool:
        """Whether a Denoiser holds all that it is given."""
        return self.held > 1


def shaped(random: Random) -> Shape:
    """The shape of a world."""
    return Shape(
        clients=random.randint(2, 6),
        doors=random.randint(1, 2),
        denoisers=random.randint(1, 3),
        slots=random.choice((1, 3, 6)),
        troubled_s=random.uniform(2, 12),
        watching=random.random() < 0.3,
        shuffle=random.random() < 0.2,
        checkpoint_share=random.choice((0.02, 0.2, 10.0)),
        kept=random.choice((1, 32)),
        held=random.choice((1, 64)),
        step_s=random.choice(((0.01, 0.2), (0.1, 1.0))),
    )
