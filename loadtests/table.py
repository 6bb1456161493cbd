"""The benchmark's rows and how they print. Every benchmark returns `Row`s; `__main__` prints them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median, quantiles


@dataclass(frozen=True)
class Row:
    """One measured line."""

    benchmark: str
    what: str
    value: str
    baseline: str = ""
    ratio: str = ""
    aim: str = ""


def spread(values: Sequence[float], digits: int = 1) -> str:
    """Median and the middle half, `12.3 (11.9-13.0)`; the median alone where nothing spreads."""
    middle = f"{median(values):.{digits}f}"
    if min(values) == max(values):
        return middle
    low, _, high = quantiles(values, n=4, method="inclusive")
    return f"{middle} ({low:.{digits}f}-{high:.{digits}f})"


def paired(arm: Sequence[float], base: Sequence[float]) -> str:
    """Median of the paired ratios, with their middle half."""
    return spread([a / b for a, b in zip(arm, base, strict=True)], 2)


def markdown(rows: Sequence[Row]) -> str:
    """A table for people and for README."""
    head = ("benchmark", "what", "value", "baseline", "ratio", "aim")
    cells = [head, *((r.benchmark, r.what, r.value, r.baseline, r.ratio, r.aim) for r in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(head))]
    lines = ["| " + " | ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) + " |" for row in cells]
    lines.insert(1, "|" + "|".join("-" * (w + 2) for w in widths) + "|")
    return "\n".join(lines)
