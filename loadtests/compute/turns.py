"""Arms that take turns, so that whatever else the machine does meets them all alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping


def take_turns(arms: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """What each arm measured in each round; every second round runs backwards (ABC CBA). Each runs once unmeasured."""
    for arm in arms.values():
        arm()
    found: dict[str, list[float]] = {name: [] for name in arms}
    for turn in range(rounds):
        for name in reversed(found) if turn % 2 else found:
            found[name].append(arms[name]())
    return found
