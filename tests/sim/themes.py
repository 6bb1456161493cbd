"""What goes wrong together, in a share of the worlds.

Faults that are drawn each by itself seldom meet where a bug needs two or three of them at once, and at the right jobs.
A theme has them all, often, and little else that would keep work from being done.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import NamedTuple

from tests.sim.chance import Faults
from tests.sim.invariants import COLLECTOR
from tests.sim.shape import Shape

THEMED = 0.4
"""Share of worlds that have one of `THEMES`."""
THEMED_SINCE = 0.1
"""Share of worlds that have one of `SINCE`: apart, so that other seeds lead to the worlds that they led to before."""
THEMED_LATELY = 0.06
"""Share of worlds that have one of `LATELY`, apart from both."""


class Plot(NamedTuple):
    """What a world is drawn to be."""

    faults: Faults
    shape: Shape
    rolls: bool
    """Whether its processes are replaced by those of the next version."""
    last: str = ""
    """The kind of which they are replaced only when the trouble ends; none: as it comes."""


def rot(draw: Random, plot: Plot) -> Plot:
    """Many checkpoints are written, and what is read of them is often wrong, of blobs too: Denoisers are killed."""
    faults = Faults(torn=draw.uniform(0.5, 0.9), flips=draw.choice((0.0, 0.1)), kills={"denoiser": draw.uniform(2, 5)})
    shape = replace(plot.shape, usual=0.1, checkpoint_share=10.0, step_s=(0.1, 0.5), clients=6, troubled_s=16.0)
    return plot._replace(faults=faults, shape=shape)


def two_directors(draw: Random, plot: Plot) -> Plot:
    """A second Director starts again and again, the first does not hear of it, and both send slices to one Denoiser."""
    faults = Faults(second_directors=draw.uniform(0.3, 1.0), unheard=1.0)
    shape = replace(plot.shape, denoisers=1, slots=6, held=64, step_s=(0.05, 0.3), troubled_s=draw.uniform(8, 16))
    return plot._replace(faults=faults, shape=shape)


def sweeps(draw: Random, plot: Plot) -> Plot:
    """Collections that are stopped in the middle, and deletes that come late, of what is just being made again."""
    faults = Faults(
        collections=draw.uniform(0.1, 0.5),
        collected_first=True,
        stopped_sweeps=1.0,
        late_deletes=draw.choice((0.0, 0.3)),
        stalled=draw.choice((0.0, 0.03)),
    )
    shape = replace(plot.shape, usual=0.9, clients=6, tenants=2, troubled_s=draw.uniform(8, 16))
    return plot._replace(faults=faults, shape=shape)


def rolled_over_a_past(draw: Random, plot: Plot) -> Plot:
    """Collections by the version of before, while others write what it does not know."""
    faults = Faults(collections=draw.uniform(0.5, 1.5), collected_first=True)
    shape = replace(plot.shape, usual=0.8, clients=8, tenants=2, troubled_s=16.0)
    return plot._replace(faults=faults, rolls=True, shape=shape)


def old_collector(draw: Random, plot: Plot) -> Plot:
    """As before, and only the collector stays what it was; what it meets first is of both versions."""
    faults = Faults(collections=draw.uniform(0.2, 0.5))
    shape = replace(plot.shape, usual=0.5, clients=6, tenants=2, troubled_s=16.0)
    return plot._replace(faults=faults, rolls=True, last=COLLECTOR, shape=shape)


def harm(draw: Random, plot: Plot) -> Plot:
    """Half of one client's videos end their workers, and the others' work is beside them on the one Denoiser."""
    shape = replace(plot.shape, deadly=0.5, denoisers=1, slots=6, clients=8, step_s=(0.05, 0.5), troubled_s=16.0)
    return plot._replace(faults=Faults(), shape=shape)


def away(draw: Random, plot: Plot) -> Plot:
    """Stages are away for everybody, one after the other, and nobody dies."""
    shape = replace(plot.shape, deadly=0.0, clients=4, troubled_s=draw.uniform(4, 12))
    return plot._replace(faults=Faults(aways=draw.uniform(0.2, 1.0)), shape=shape)


def late_starts(draw: Random, plot: Plot) -> Plot:
    """Directors die one after the other, and what they have sent to the one Denoiser begins late: it is stopped, or the
    store slow."""
    kills, stops = {"director": draw.uniform(0.5, 2.0)}, {"denoiser": draw.uniform(0.5, 2.0)}
    faults = Faults(kills=kills, stops=stops, stalled=draw.uniform(0.03, 0.2))
    shape = replace(plot.shape, deadly=0.0, denoisers=1, slots=6, clients=8, step_s=(0.01, 0.05), troubled_s=16.0)
    return plot._replace(faults=faults, shape=shape)


def broken_doors(draw: Random, plot: Plot) -> Plot:
    """Front doors die in the middle of creates. What they leave behind takes a small quota's places for a while, and is
    collected in the end."""
    faults = Faults(kills={"door": draw.uniform(3.0, 6.0)}, unanswered=draw.choice((0.0, 0.1)), collections=0.5)
    shape = replace(plot.shape, clients=8, quota=draw.choice((1, 50)), troubled_s=16.0)
    return plot._replace(faults=faults, shape=shape)


THEMES: tuple[Callable[[Random, Plot], Plot], ...] = (
    rot,
    two_directors,
    sweeps,
    rolled_over_a_past,
    rolled_over_a_past,
    harm,
    broken_doors,
)
SINCE: tuple[Callable[[Random, Plot], Plot], ...] = (old_collector, away)
LATELY: tuple[Callable[[Random, Plot], Plot], ...] = (late_starts, old_collector)


def themed(seed: str, plot: Plot) -> Plot:
    """The same, or with a theme."""
    draw = Random(f"{seed}/theme")
    drawn = draw.random()
    for themes, share in ((THEMES, THEMED), (SINCE, THEMED_SINCE), (LATELY, THEMED_LATELY)):
        if drawn < share:
            return plot if plot.shape.slow else draw.choice(themes)(draw, plot)
        drawn -= share
    return plot
