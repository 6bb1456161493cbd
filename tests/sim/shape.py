"""How large a world is: drawn from its seed."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

DEADLY = 0.05
"""Share of worlds in which many videos end their workers, and all others work beside them."""


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
    render_s: tuple[float, float] = (0.02, 0.3)
    margin_s: float = 600.0
    """Of the collector."""
    tenants: int = 2
    quota: int = 50
    """Jobs that the first tenant may have at a time."""
    usual: float = 0.4
    """Share of videos that are alike: the same bytes again and again."""
    deadly: float = 0.04
    """Share of the first client's videos that end their workers."""

    @property
    def slow(self) -> bool:
        """Whether its jobs last longer than the collector's margin."""
        return self.render_s[1] > self.margin_s

    @property
    def roomy(self) -> bool:
        """Whether a Denoiser holds all that it is given."""
        return self.held > 1


def shaped(random: Random, *, slow: bool, collected: bool) -> Shape:
    """The shape of a world. `slow`: jobs outlast the collector's margin. `collected`: there are collections."""
    deadly = random.random() < DEADLY
    return Shape(
        clients=random.randint(1, 3) if slow else random.randint(2, 6),
        doors=random.randint(1, 2),
        denoisers=1 if deadly else random.randint(1, 3) if random.random() < 0.9 else random.randint(4, 10),
        slots=6 if deadly else random.choice((1, 3, 6)),
        troubled_s=random.uniform(2, 12),
        watching=random.random() < 0.4,
        shuffle=random.random() < 0.2,
        checkpoint_share=random.choice((0.02, 0.2, 10.0)),
        kept=random.choice((1, 32)),
        held=random.choice((1, 64)),
        step_s=(0.5, 20.0) if slow else random.choice(((0.01, 0.2), (0.1, 1.0))),
        render_s=(1.0, 400.0) if slow else (0.02, 0.3),
        margin_s=120.0 if slow else 600.0,
        tenants=random.randint(2, 5),
        quota=random.choice((1, 2)) if random.random() < 0.5 else 50,
        usual=0.8 if collected else 0.4,
        deadly=0.5 if deadly else 0.04,
    )
