"""A comparison as one HTML page: its numbers, and of a whole run the reference, the engines and what lies between.

`report.py` makes it. The page holds all that it shows, loads nothing, and has no script.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from html import escape
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from engines.building.verify import Compared

SHOWN: Final = 4
"""Frames of each run, from its first to its last."""
MOST_GAIN: Final = 64
"""Differences are drawn so many times as strong, at most: of one level there is something to see."""
_STYLE: Final = """
:root { color-scheme: light dark; --ink: #1d1f23; --soft: #5a5f68; --paper: #f6f5f1; --card: #fff; --line: #dedbd2;
  --mark: #b3261e; }
@media (prefers-color-scheme: dark) { :root { --ink: #ececea; --soft: #a8acb3; --paper: #17181b; --card: #202226;
  --line: #3a3d44; --mark: #ff8a80; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 76rem; padding: 1rem 1.25rem; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.35rem; overflow-wrap: anywhere; } h2 { font-size: 1.15rem; } p { color: var(--soft); }
.table { overflow-x: auto; }
table { border-collapse: collapse; background: var(--card); font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .8rem; border: 1px solid var(--line); text-align: right; }
th:first-child, td:first-child { text-align: left; } td small { color: var(--soft); }
.beyond { color: var(--mark); font-weight: 600; }
.run { display: grid; gap: .6rem; grid-template-columns: repeat(3, minmax(0, 1fr)); }
figure { margin: 0; } figure img { width: 100%; image-rendering: pixelated; border-radius: 4px; }
figcaption { font-size: .85rem; color: var(--soft); }
"""
Frames = NDArray[np.generic]


def page(told: dict[str, Any], compared: Compared) -> str:
    """The whole of it."""
    title = f"{told['model']}, {told['variant']}"
    problems = "".join(f"<p class=beyond>{escape(problem)}</p>" for problem in told["problems"])
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{escape(title)}: compared</title><style>{_STYLE}</style></head><body>
<h1>{escape(title)}</h1>
<p>Engines <code>{told["digest"][:12]}</code>, compared with {escape(told["against"])}. Differences are relative: the
largest to the largest value, the mean to the values' mean. Behind each stands the most that is allowed.</p>{problems}
<div class=table><table><tr><th>component<th>precision<th>rows<th>largest<th>mean<th>1 - cosine</tr>
{"".join(_rows(told))}</table></div>
<p>Pixels of whole runs: {_level(told, "largest")} at most, {_level(told, "mean")} in the mean.</p>
{"".join(_runs(compared)) or "<p>There are no pictures: nothing of a whole run was at hand.</p>"}
</body></html>
"""


def _rows(told: dict[str, Any]) -> Iterator[str]:
    whole = {"component": "whole runs: latents", "precision": "", "batch": "", **told["latents"]}
    for row in (*told["components"], whole):
        cells = "".join(f"<td>{_cell(row, name)}</td>" for name in ("largest", "mean", "one_minus_cosine"))
        yield f"<tr><td>{escape(row['component'])}<td>{row['precision']}<td>{row['batch']}{cells}</tr>\n"


def _cell(row: dict[str, Any], name: str) -> str:
    value, most = row[name], row["allowed"][name]
    kind = "" if value is not None and value <= most else ' class="beyond"'
    return f"<span{kind}>{'no number' if value is None else f'{value:.1e}'}</span> <small>{most:.0e}</small>"


def _level(told: dict[str, Any], name: str) -> str:
    value, most = told["pixels"][name], told["pixels"]["allowed"][name]
    return f"{'no number' if value is None else f'{value:.2g}'} levels of 255 (allowed: {most:g})"


def _runs(compared: Compared) -> Iterator[str]:
    for (place, canvas), outputs in compared.wanted.items():
        wanted, found = outputs["frames"], compared.found[place, canvas]["frames"]
        if wanted.shape != found.shape:
            continue
        apart = np.abs(np.asarray(wanted, np.float64) - np.asarray(found, np.float64))
        gain = int(np.clip(255 / max(float(apart.max()), 1.0), 1, MOST_GAIN))
        yield f"<h2>A whole run, {escape(canvas)}</h2><div class=run>"
        for number in np.unique(np.linspace(0, len(wanted) - 1, SHOWN).round().astype(int)).tolist():
            yield _figure(wanted[number], f"reference, frame {number}")
            yield _figure(found[number], "engines")
            yield _figure(apart[number] * gain, f"difference, {gain} times as strong")
        yield "</div>"


def _figure(frame: Frames, caption: str) -> str:
    from PIL import Image

    written = io.BytesIO()
    pixels = np.nan_to_num(np.asarray(frame, np.float64)).clip(0, 255).round().astype(np.uint8)
    Image.fromarray(pixels).save(written, "PNG")
    data = base64.b64encode(written.getvalue()).decode()
    return (
        f'<figure><img alt="{escape(caption)}" src="data:image/png;base64,{data}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )
