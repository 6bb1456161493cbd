"""A panel as a picture in SVG: its lines over time, or its newest number. `page.py` puts pictures on a page."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from html import escape
from itertools import pairwise
from typing import Final

from helm.monitoring.answers import Line, Span
from helm.monitoring.board import Panel

COLOURS: Final = ("#2f6fb5", "#d9822b", "#3f9c5a", "#b5403a", "#7a5cb0", "#8a6d4b", "#c9629b", "#6b7280")
_WIDTH, _HEIGHT = 420, 150
_LEFT, _BOTTOM, _TOP = 52, 18, 6
_SUFFIX: Final = {"s": "s", "reqps": "/s", "ops": "/s", "Bps": "B/s", "percentunit": "%", "bytes": "B", "short": ""}
"""Of Grafana's units."""
_MOST_SHOWN: Final = 8
"""Lines in a legend."""


def drawn(panel: Panel, lines: Sequence[Line], span: Span) -> str:
    """The figure's content, legend included."""
    if not lines:
        return '<p class="none">nothing to tell</p>'
    if panel.kind == "number":
        return f'<p class="number">{told(sum(line.points[-1][1] for line in lines), panel.unit)}</p>'
    tops = _stacked(lines) if panel.stacked else [dict(line.points) for line in lines]
    most = max((value for top in tops for value in top.values()), default=0.0)
    marks = ticks(most)
    parts = [*_grid(marks, panel.unit), *_clock(span, marks[-1])]
    below: dict[float, float] = {}
    for top, colour in zip(tops, _colours(), strict=False):
        parts += _line(top, below if panel.stacked else None, colour, span, marks[-1])
        below = top
    said = f"{escape(panel.title)}: {len(lines)} lines, at most {told(most, panel.unit)}"
    picture = f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{said}">{"".join(parts)}</svg>'
    return picture + _legend(panel, lines)


def told(value: float, unit: str) -> str:
    """A number as people read it: 12 ms, 3.4 MB/s, 15 %."""
    suffix = _SUFFIX[unit]
    if unit == "percentunit":
        return f"{100 * value:.3g} %"
    if unit == "s" and 0 < value < 1:
        return f"{1000 * value:.3g} ms"
    for power, prefix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= power and unit != "s":
            return f"{value / power:.3g} {prefix}{suffix}".strip()
    return f"{value:.3g} {suffix}".strip() if unit in ("s", "Bps") else f"{value:.3g}{suffix}"


def ticks(most: float) -> list[float]:
    """From nothing to `most` or a little more, two to five steps of 1, 2 or 5 of a power of ten."""
    if most <= 0:
        return [0.0, 1.0]
    power = 10.0 ** math.floor(math.log10(most / 2))
    step = next(factor * power for factor in (1, 2, 5, 10) if most / (factor * power) <= 5)
    return [at * step for at in range(math.ceil(most / step - 1e-9) + 1)]


def _stacked(lines: Sequence[Line]) -> list[dict[float, float]]:
    """Each line's upper edge, by time."""
    sums: defaultdict[float, float] = defaultdict(float)
    tops = []
    for line in lines:
        for at, value in line.points:
            sums[at] += value
        tops.append({at: sums[at] for at, _ in line.points})
    return tops


def _line(
    top: dict[float, float], below: dict[float, float] | None, colour: str, span: Span, most: float
) -> Iterator[str]:
    """A piece for each run of points without a gap."""
    times = sorted(top)
    cuts = [at + 1 for at, (one, next_) in enumerate(pairwise(times)) if next_ - one > 1.5 * span.step_s]
    for first, last in pairwise([0, *cuts, len(times)]):
        run = times[first:last]
        edge = [_at(time, top[time], span, most) for time in run]
        if below is not None:
            floor = [_at(time, below.get(time, 0.0), span, most) for time in reversed(run)]
            yield f'<polygon points="{" ".join([*edge, *floor])}" fill="{colour}" opacity=".25"/>'
        yield f'<polyline points="{" ".join(edge)}" fill="none" stroke="{colour}" stroke-width="1.5"/>'


def _at(time: float, value: float, span: Span, most: float) -> str:
    return f"{_x(time, span):.1f},{_y(value, most):.1f}"


def _x(time: float, span: Span) -> float:
    return _LEFT + (time - span.start) / (span.end - span.start) * (_WIDTH - _LEFT - 4)


def _y(value: float, most: float) -> float:
    return _HEIGHT - _BOTTOM - value / most * (_HEIGHT - _BOTTOM - _TOP)


def _grid(marks: Sequence[float], unit: str) -> Iterator[str]:
    for mark in marks:
        y = _y(mark, marks[-1])
        yield f'<line x1="{_LEFT}" x2="{_WIDTH}" y1="{y:.1f}" y2="{y:.1f}"/>'
        yield f'<text x="{_LEFT - 5}" y="{y + 3:.1f}" text-anchor="end">{told(mark, unit)}</text>'


def _clock(span: Span, most: float) -> Iterator[str]:
    for part in range(1, 4):
        time = span.start + part / 4 * (span.end - span.start)
        said = f"{datetime.fromtimestamp(time, UTC):%H:%M}"
        yield f'<text x="{_x(time, span):.1f}" y="{_y(0, most) + 14:.1f}" text-anchor="middle">{said}</text>'


def _legend(panel: Panel, lines: Sequence[Line]) -> str:
    """With each line's newest value."""
    items = [
        f'<li><i style="background:{colour}"></i>{escape(line.legend)} <b>{told(line.points[-1][1], panel.unit)}</b>'
        for line, colour in zip(lines[:_MOST_SHOWN], _colours(), strict=False)
    ]
    if len(lines) > _MOST_SHOWN:
        items.append(f"<li>and {len(lines) - _MOST_SHOWN} more")
    return f"<ul>{''.join(items)}</ul>"


def _colours() -> Iterator[str]:
    while True:
        yield from COLOURS
