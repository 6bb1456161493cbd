"""Who can be killed, and how: every kind of process below a running Longtake."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from random import Random

from serving.jobs.lease import TTL_S
from serving.local.process_tree import descendants

STOPPED_S = TTL_S + 2.0
"""A stopped process sleeps for longer than its lease lives."""
KINDS: dict[str, str] = {
    "denoiser": ":denoiser",
    "renderer": ":renderer",
    "conditioner": ":conditioner",
    "text encoder": ":text_encoder",
    "director": ":director",
    "controller": "ray::ServeController",
    "proxy": "ray::ProxyActor",
    "front door": "serving.frontdoor",
    "roll-out": "serving.deployments.host",
    "host": "serving.deployments.host",
    "Ray's head": "gcs_server",
}
"""What a victim's command line holds: Ray's name of a replica ends with its stage. A roll-out replaces every replica,
as deploying anew does; with the host or with Ray's head all of Ray goes, and is started again.
"""
_WEIGHTS = {"denoiser": 4, "renderer": 3, "director": 3, "host": 0.5, "Ray's head": 0.5}
_STOPPABLE = ("denoiser", "renderer", "director")
TWICE = 0.25
"""Share of strikes that hit two processes at once."""


@dataclass(frozen=True)
class Blow:
    """What was done to whom."""

    kind: str
    stopped: bool
    """Stopped and continued, instead of killed."""

    @property
    def name(self) -> str:
        """For the table."""
        if self.kind == "roll-out":
            return "all replicas, rolled out anew"
        return f"{self.kind}, {'stopped' if self.stopped else 'killed'}"


def pids(root: int, kind: str) -> list[int]:
    """Living processes of this kind below `root`."""
    wanted = KINDS[kind]
    return [pid for pid in descendants(root) if wanted in _command(pid)]


EVERY = (*(Blow(kind, stopped=False) for kind in KINDS), *(Blow(kind, stopped=True) for kind in _STOPPABLE))
"""All blows that there are."""


def strikes(random: Random) -> Iterator[list[Blow]]:
    """Without end, one blow or two at once: every blow once, in any order; then workers more often than the rest, one
    in five a stop."""
    dealt = _blows(random)
    while True:
        yield list(islice(dealt, 2 if random.random() < TWICE else 1))


def _blows(random: Random) -> Iterator[Blow]:
    yield from random.sample(EVERY, len(EVERY))
    while True:
        yield _choose(random)


def _choose(random: Random) -> Blow:
    kind = random.choices(list(KINDS), [_WEIGHTS.get(kind, 1) for kind in KINDS])[0]
    return Blow(kind, kind in _STOPPABLE and random.random() < 0.2)


async def strike(root: int, blow: Blow, random: Random) -> bool:
    """Do it to one process of the kind; False when there is none just now."""
    found = pids(root, blow.kind)
    if not found:
        return False
    pid = random.choice(found)
    # It may have ended since it was found, or, stopped, be killed by Serve's health check.
    with suppress(ProcessLookupError):
        if not blow.stopped:
            os.kill(pid, signal.SIGHUP if blow.kind == "roll-out" else signal.SIGKILL)
            return True
        os.kill(pid, signal.SIGSTOP)
        await asyncio.sleep(STOPPED_S)
        os.kill(pid, signal.SIGCONT)
    return True


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:  # it ended
        return ""
