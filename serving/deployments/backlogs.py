"""What the Director last told of its backlog: one policy hears it, and those of the models' applications ask.

Serve shows a policy the records of its own application's replicas alone, and the Director is in none of a model's. But
it calls all policies in one process, its controller, where this module is one for all of them.
"""

from __future__ import annotations

from collections.abc import Mapping

_told: dict[str, float] = {}


def tell(backlog: Mapping[str, float]) -> None:
    """All of it, by model and stage as `record_autoscaling_stats` names them; nothing while no Director does."""
    _told.clear()
    _told.update(backlog)


def of(model: str) -> dict[str, float]:
    """One model's, by stage; empty while no Director tells of it."""
    mine = name_of(model, "")
    return {name.removeprefix(mine): value for name, value in _told.items() if name.startswith(mine)}


def name_of(model: str, what: str) -> str:
    """How the Director records what there is of a model's."""
    return f"{model}/{what}"
