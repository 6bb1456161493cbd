"""Arms that take turns, so that whatever else the machine does meets them all alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping


def take_turns(
    arms: Mapping[str, Callable[[], float]],
    rounds: int,
    *,
    within_s: float,
    clock: Callable[[], float] = time.monotonic,
) -> dict[str, list[float]]:
    """What each arm measured in each round; every second round runs backwards (ABC CBA). Each runs once unmeasured.

    On a slow machine there are fewer rounds: none begins when so many seconds are over, save the first.
    """
    ends = clock() + within_s
    for arm in arms.values():
        arm()
    found: dict[str, list[float]] = {name: [] for name in arms}
    for turn in range(rounds):
        if turn and clock() >= ends:
            break
        for name in reversed(found) if turn % 2 else found:
            found[name].append(arms[name]())
    return found
