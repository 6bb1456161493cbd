"""How often Python's cyclic collector looks: the processes that make thousands of short-lived objects a second ask."""

from __future__ import annotations

import gc

YOUNG_OBJECTS = 20_000
"""So many more made than freed, and Python's cyclic collector looks at them."""


def collect_cycles_rarely() -> None:
    """Once in a process of a Director's or front door's own, by whoever starts it there.

    A job makes thousands of objects that live for some round trips and go by themselves, a poll some sixty. Python's
    cyclic collector, as it is set, walks them every 700 objects: a sixth of a Director's CPU.
    """
    gc.set_threshold(YOUNG_OBJECTS, 20, 20)
