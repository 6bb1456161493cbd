"""The dashboard of the front doors: what clients ask, how fast they are answered, and from where."""

from __future__ import annotations

from typing import Final

from helm.monitoring.board import HERE, Board, Panel, Query, quantiles, rate

_CALLS: Final = (
    Panel(
        "Calls",
        "reqps",
        (Query(rate("longtake_rpc_handled_total", "code"), "{{code}}"),),
        "A second, by status. INTERNAL is a fault of ours: the log has the incident.",
        stacked=True,
    ),
    Panel("Unary calls", "s", quantiles("longtake_rpc_seconds", "", at=(0.5, 0.95, 0.99)), "Time in the server."),
    Panel("Slowest methods", "s", quantiles("longtake_rpc_seconds", "method", at=(0.99,)), "Of unary calls."),
    Panel(
        "Streams",
        "short",
        (Query(f"sum by (method) (longtake_rpc_streams{{{HERE}}})", "{{method}}"),),
        "Open ones: watches, uploads and downloads.",
        stacked=True,
    ),
    Panel(
        "Creates sent again",
        "reqps",
        (Query(rate("longtake_creates_repeated_total", "by"), "{{by}}"),),
        "Answered with the job of the first one. Many: clients lose their connections.",
    ),
    Panel(
        "Media",
        "Bps",
        (Query(rate("longtake_media_bytes_total", "route"), "{{route}}"),),
        "Bytes of films and pictures, a second.",
        stacked=True,
    ),
)
_DIRECTOR: Final = (
    Panel(
        "Polls",
        "reqps",
        (Query(rate("longtake_record_reads_total", "source"), "{{source}}"),),
        "By where the answer came from. Much from the store: the Director is not heard.",
        stacked=True,
    ),
    Panel(
        "Watch stream lost",
        "reqps",
        (Query(rate("longtake_watch_breaks_total", "cause"), "{{cause}}"),),
        "The stream from the Director, a second. Rollouts break it; else it lasts.",
    ),
    Panel(
        "Hints that did not arrive",
        "reqps",
        (Query(rate("longtake_wake_failures_total", "cause"), "{{cause}}"),),
        "Jobs start up to some seconds later for each.",
    ),
)
BOARD: Final = Board(
    "frontdoors", "Longtake: front doors", (("Clients", _CALLS), ("The Director, as heard here", _DIRECTOR))
)
