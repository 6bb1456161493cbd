"""How a change of a VideoService is brought about, as it is asked for and as it goes. `policies/rollout.py` decides."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from operators.api.base import Part

State = Literal["", "Held", "Analysing", "StagesStarting", "FrontDoorsRolling", "Complete", "RolledBack"]


class Analysis(Part):
    """Finished videos that a new version makes again before anything of it serves."""

    videos: int = Field(default=0, ge=0, le=100)
    """So many of the store's newest finished ones; 0 for none. Each takes the time that it took to make, in a pod with
    the Denoisers' resources beside those that serve."""


class Rollout(Part):
    """What becomes of a change that does not get ready."""

    strategy: Literal["RollBack", "Wait"] = "RollBack"
    """`RollBack`: after the deadline, what served before comes back, until the spec is changed again. `Wait`: it is
    told of, and waited for further."""
    progress_deadline_seconds: int = Field(default=1800, ge=60, le=604_800)
    """Seconds that a change may take until it serves: nodes, images and engines come in that time."""
    analysis: Analysis = Field(default_factory=Analysis)
    """What a version has to show before it takes traffic. One that makes a video otherwise is taken back."""


class RolloutStatus(Part):
    """How the newest change goes. Revisions are named after all of the spec but `rollout` and `drain`."""

    state: State = ""
    """`Held`: nothing of it is made yet. `Analysing`: finished videos are made again by it, and nothing of it serves.
    `StagesStarting`: its stages start, and front doors are as before. `FrontDoorsRolling`: they follow. `Complete`: it
    serves. `RolledBack`: what served before is back."""
    from_revision: str = ""
    """The revision that served before; empty where none ever did."""
    to_revision: str = ""
    """The revision that is wanted."""
    generation: int = 0
    """The `metadata.generation` that asked for it."""
    started_at: str = ""
    """When it was begun, or held last."""
    ready_since: str = ""
    """Since when nothing of the step under way has been missing."""
    analysis: str = ""
    """What the replay of finished videos said, when nothing came out otherwise."""
    message: str = ""
    """What holds it, what it lacks, or why it was taken back."""


class Redeploys(Part):
    """Applications that Ray gave up, and is asked to try again."""

    generations: dict[str, int] = Field(default_factory=dict)
    """How often, by application."""
    since: str = ""
    """Since when some are given up, or have been tried again; empty where none is."""
