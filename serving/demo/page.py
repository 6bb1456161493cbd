"""One HTML page with everything that the demo made: each video over its directions, second by second, beside what its
pixels show, and what of its world it remembers.
"""

from __future__ import annotations

import base64
import html
from collections.abc import Iterator, Sequence

from serving.demo.measure import Second, measured
from serving.demo.story import Piece
from serving.demo.style import SCRIPT, STYLE
from serving.gen.longtake.v1.videos_pb2 import Segment, ShownSource

_CAMERA = {"left": "\u2190", "right": "\u2192"}


def page(pieces: Sequence[Piece]) -> str:
    """The whole page; videos are linked beside it, pictures are in it."""
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Longtake: what was made</title><style>{STYLE}</style></head><body>
<header><h1>Longtake<span>.</span></h1>
<p>Everything below was made on this machine a moment ago, by the model that Longtake ships. A sentence directs one
second. What left the frame is remembered, and is there again when the camera comes back. Prompts are as they were
given; what a video shows was read back from its pixels. Click a second to see it.</p>
<nav aria-label="Lineage"><ol>{_lineage(pieces)}</ol></nav></header>
<main>{"".join(_article(piece) for piece in pieces)}</main><script>{SCRIPT}</script></body></html>
"""


def _lineage(pieces: Sequence[Piece]) -> str:
    items = []
    for piece in pieces:
        kind = ' class="next"' if piece.video.parent_video_id else ""
        items.append(f'<li{kind}><a href="#{piece.video.id}">{html.escape(piece.title)}</a></li>')
    return "".join(items)


def _article(piece: Piece) -> str:
    return (
        f'<article id="{piece.video.id}"><div>{_media(piece)}{_line(piece)}{_world(piece)}</div>'
        f"<div><h2>{html.escape(piece.title)}</h2><dl>{_facts(piece)}</dl>{_sheet(piece)}</div>{_table(piece)}</article>"
    )


def _facts(piece: Piece) -> str:
    video = piece.video
    pictures = "".join(f'<img class="in" alt="A picture that went in" src="{_inline(png)}">' for png in piece.pictures)
    facts = {
        "prompt": html.escape(video.prompt),
        "pictures in": pictures,
        "read as": html.escape("; ".join(video.effective_references)),
        "extends": f'<a href="#{video.parent_video_id}"><code>{video.parent_video_id}</code></a>'
        if video.parent_video_id
        else "",
        "note": html.escape(" ".join(video.warnings)),
        "size": f"{video.width}&times;{video.height}" + (f", {video.frames} frames" if video.frames else ""),
        "id": f"<code>{video.id}</code>, seed {video.seed}",
        "measured": html.escape(measured(piece.reading)),
    }
    return "".join(f"<dt>{name}</dt><dd>{value}</dd>" for name, value in facts.items() if value)


def _media(piece: Piece) -> str:
    if piece.segments:
        return f'<video src="{piece.files[0].name}" controls loop muted autoplay playsinline></video>'
    stills = (f'<img class="still" alt="{html.escape(piece.title)}" src="{file.name}">' for file in piece.files)
    return f'<div class="stills">{"".join(stills)}</div>'


def _line(piece: Piece) -> str:
    """The timeline: a button for each second, with the way that the camera goes; what was there before is pale."""
    items = []
    for segment in piece.segments:
        camera = _CAMERA.get(segment.effective_prompt.rpartition(" ")[2], "")
        kind = "" if segment.video_id == piece.video.id else ' class="earlier"'
        title = html.escape(segment.effective_prompt)
        span = _span(segment, piece.video.fps)
        items.append(f'<li><button{kind} {span} title="{title}">{segment.index + 1}{camera}</button></li>')
    return f'<ol class="line" aria-label="Seconds">{"".join(items)}</ol>' if items else ""


def _world(piece: Piece) -> str:
    if piece.reading.world is None:
        return ""
    return (
        f'<figure><img class="world" alt="The ring of scenery" src="{_inline(piece.reading.world)}">'
        "<figcaption>The world, as far as it was seen; its right end joins its left</figcaption></figure>"
    )


def _table(piece: Piece) -> str:
    """What each second that this video added was to show, and what it shows."""
    if not piece.segments:
        return ""
    rows = "".join(_rows(piece))
    return (
        '<div class="wide"><table><thead><tr><th>second</th><th>directed</th><th>remembered for it, of second</th>'
        "<th>at its end its pixels show</th><th>as directed</th><th>scenery as it was</th></tr></thead>"
        f"<tbody>{rows}</tbody></table></div>"
    )


def _rows(piece: Piece) -> Iterator[str]:
    for segment, second in zip(piece.segments, piece.reading.seconds, strict=True):
        if segment.video_id == piece.video.id:
            yield (
                f"<tr {_span(segment, piece.video.fps)}><td>{segment.index + 1}</td>"
                f"<td>{html.escape(segment.effective_prompt)}</td><td>{_remembered(segment, second)}</td>"
                f"<td>{html.escape(second.shows)}</td>{_count(second.right, second.looks)}"
                f"{_count(second.same, second.again)}</tr>"
            )


def _remembered(segment: Segment, second: Second) -> str:
    """The views of columns that the segment was shown: how they look, where they are from, what they took."""
    memory = [source for source in segment.history if source.kind == ShownSource.MEMORY]
    if second.remembered is None or not memory:
        return ""
    seen = sorted({latent.segment_index + 1 for source in memory for latent in source.latents})
    words = f"of {', '.join(map(str, seen))}; {sum(source.tokens for source in memory)} tokens"
    return f'<img alt="Columns as they were seen" src="{_inline(second.remembered)}"> <small>{words}</small>'


def _count(right: int, of: int) -> str:
    if not of:
        return "<td></td>"
    kind = "number" if right == of else "number wrong"
    return f'<td class="{kind}">{right} of {of}</td>'


def _span(segment: Segment, fps: int) -> str:
    start, end = segment.start_frame / fps, (segment.start_frame + segment.frames) / fps
    return f'data-from="{start:.4f}" data-to="{end:.4f}"'


def _sheet(piece: Piece) -> str:
    if not piece.segments:
        return ""
    name = piece.files[0].with_suffix(".png").name
    history = piece.files[0].with_suffix(".html").name
    return (
        f'<a href="{name}"><img class="sheet" alt="Contact sheet" src="{name}"></a>'
        f'<p><a href="{history}">All that the model was shown for each second</a></p>'
    )


def _inline(picture: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(picture).decode()
