"""Bugs to plant into the shipped code, to see that the simulation finds them: a module for each part of Longtake."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from tests.sim.plants import director, frontdoor, jobs, retention, stages, versions
from tests.sim.plants.plant import Plant

BUGS: dict[str, Plant] = {
    **director.BUGS,
    **frontdoor.BUGS,
    **jobs.BUGS,
    **retention.BUGS,
    **stages.BUGS,
    **versions.BUGS,
}


@contextmanager
def planted(name: str | None) -> Iterator[None]:
    """With this bug; None: without any."""
    with ExitStack() as stack:
        if name is not None:
            BUGS[name](stack)
        yield
