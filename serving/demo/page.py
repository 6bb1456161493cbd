"""One HTML page with everything that the demo made: videos, prompts, what was measured, who extends whom."""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence
from pathlib import Path

from serving.demo.story import Piece

_STYLE = """
:root { color-scheme: light dark; --ink: #1d1f23; --soft: #5f646d; --paper: #f6f5f1; --card: #fff; --line: #dedbd2;
  --mark: #b3261e; }
@media (prefers-color-scheme: dark) { :root { --ink: #ececea; --soft: #a2a6ad; --paper: #17181b; --card: #202226;
  --line: #34373d; --mark: #ff8a80; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
header, main { max-width: 72rem; margin: auto; padding: 2rem 1.25rem 0; }
h1 { font-size: 1.9rem; margin: 0; letter-spacing: -.02em; } h1 span { color: var(--mark); }
header p { color: var(--soft); max-width: 44rem; }
nav ol { list-style: none; padding: 0; display: flex; flex-wrap: wrap; gap: .4rem; align-items: center; }
nav li a { border: 1px solid var(--line); border-radius: 99px; padding: .15rem .7rem; color: inherit;
  text-decoration: none; background: var(--card); font-size: .9rem; }
nav li.next::before { content: "\\2192"; color: var(--soft); margin-right: .4rem; }
article { background: var(--card); border: 1px solid var(--line); border-radius: 14px; padding: 1.25rem;
  margin-bottom: 1.5rem; display: grid; gap: 1.25rem; grid-template-columns: minmax(0, 5fr) minmax(0, 4fr); }
@media (max-width: 46rem) { article { grid-template-columns: 1fr; } }
h2 { margin: 0 0 .5rem; font-size: 1.15rem; }
video, .still { width: 100%; border-radius: 8px; background: #000; display: block; image-rendering: pixelated; }
.stills { display: grid; grid-template-columns: 1fr 1fr; gap: .5rem; }
details img { width: 100%; margin-top: .5rem; border-radius: 6px; } summary { cursor: pointer; color: var(--soft); }
dl { display: grid; grid-template-columns: auto 1fr; gap: .15rem .9rem; margin: 0; font-size: .93rem; }
dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; }
.in { height: 4.5rem; image-rendering: pixelated; border-radius: 4px; }
code { font-size: .85em; }
"""


def page(pieces: Sequence[Piece]) -> str:
    """The whole page; videos are linked beside it, pictures are in it."""
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Longtake: what was made</title><style>{_STYLE}</style></head><body>
<header><h1>Longtake<span>.</span></h1>
<p>Everything below was made on this machine a moment ago, by the model that Longtake ships. Prompts are as they were
given; what a video shows was read back from its pixels.</p>
<nav aria-label="Lineage"><ol>{_lineage(pieces)}</ol></nav></header>
<main>{"".join(_article(piece) for piece in pieces)}</main></body></html>
"""


def _lineage(pieces: Sequence[Piece]) -> str:
    items = []
    for piece in pieces:
        kind = ' class="next"' if piece.video.parent_video_id else ""
        items.append(f'<li{kind}><a href="#{piece.video.id}">{html.escape(piece.title)}</a></li>')
    return "".join(items)


def _article(piece: Piece) -> str:
    video = piece.video
    facts = {
        "prompt": html.escape(video.prompt) or "<i>none</i>",
        "understood as": html.escape(video.effective_prompt),
        "reference": html.escape("; ".join(video.effective_references)),
        "picture in": f'<img class="in" alt="The picture that went in" src="{_inline(piece.picture)}">'
        if piece.picture
        else "",
        "size": f"{video.width}&times;{video.height}, {video.frames} frames" if video.frames else
        f"{video.width}&times;{video.height}",
        "extends": f'<a href="#{video.parent_video_id}"><code>{video.parent_video_id}</code></a>'
        if video.parent_video_id
        else "",
        "note": html.escape(" ".join(video.warnings)),
        "id": f"<code>{video.id}</code>, seed {video.seed}",
        **{f"measured: {name}": html.escape(value) for name, value in piece.readings.items()},
    }  # fmt: skip
    rows = "".join(f"<dt>{name}</dt><dd>{value}</dd>" for name, value in facts.items() if value)
    return (
        f'<article id="{video.id}"><div>{_media(piece)}{_sheet(piece)}</div>'
        f"<div><h2>{html.escape(piece.title)}</h2><dl>{rows}</dl></div></article>"
    )


def _media(piece: Piece) -> str:
    if piece.files[0].suffix == ".mp4":
        return f'<video src="{piece.files[0].name}" controls loop muted autoplay playsinline></video>'
    stills = (f'<img class="still" alt="{html.escape(piece.title)}" src="{file.name}">' for file in piece.files)
    return f'<div class="stills">{"".join(stills)}</div>'


def _sheet(piece: Piece) -> str:
    if piece.sheet is None:
        return ""
    name = Path(piece.sheet).name
    return f'<details><summary>Contact sheet</summary><img loading="lazy" alt="Contact sheet" src="{name}"></details>'


def _inline(picture: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(picture).decode()
