"""A video's lineage as one HTML page: its segments in a row, and of the chosen one what it was shown. Pure.

`lineage.py` writes it. The page holds all that it shows, and loads nothing. Without its script it works too: a segment
is chosen by a link, and pictures are in the style, each once. The script adds the arrow keys, and marks in the row what
the chosen segment was shown.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import groupby
from typing import TYPE_CHECKING

from serving.cli import lineage_look
from serving.cli.lineage_words import kind_of, place_of, rest_of, tokens_of

if TYPE_CHECKING:
    from serving.gen.longtake.v1.videos_pb2 import Segment, ShownLatent, ShownSource, Video

_KINDS = {
    "anchor": "the video's first latent",
    "newest": "what was just before",
    "memory": "what is needed again, as it was seen before",
    "reference": "a picture that was given",
    "other": "of a later version",
}


@dataclass(frozen=True)
class Drawn:
    """What the page is made of."""

    video: Video
    path: Sequence[Segment]
    """From the root on."""
    segments: Sequence[Segment]
    """The newest of them, with what each was shown: those that are drawn."""
    pictures: Mapping[int, bytes]
    """Frames of the video by number, WebP."""

    def has(self, index: int) -> bool:
        """Whether the segment of this number is drawn."""
        return bool(self.segments) and self.segments[0].index <= index <= self.segments[-1].index


def frames_in(segments: Sequence[Segment]) -> set[int]:
    """The frames that the page shows of these segments."""
    shown = (latent for segment in segments for source in segment.history for latent in source.latents)
    ends = {segment.start_frame + segment.frames - 1 for segment in segments}
    return ends | {segment.start_frame for segment in segments} | {_frame(latent) for latent in shown}


def page(drawn: Drawn) -> str:
    """The whole of it."""
    video = drawn.video
    shape = f".shot {{ aspect-ratio: {video.width or 16} / {video.height or 9}; }}"
    frames = "\n".join(f".f{number} {{ background-image: url({_inline(data)}); }}"
                       for number, data in sorted(drawn.pictures.items()))  # fmt: skip
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{lineage_look.POLICY}">
<title>{escape(video.id)}: lineage</title><style>{lineage_look.STYLE}{shape}
{frames}</style></head><body>
<header><h1>{escape(video.prompt) or "A video without a prompt"}</h1>
<p>{escape(_summary(drawn))}</p>{_makers(drawn.path)}{_notes(drawn)}</header>
<nav aria-label="Segments"><ol>{"".join(_stations(drawn))}</ol></nav>
<main>{"".join(_section(drawn, segment) for segment in drawn.segments)}</main>
<footer><dl>{"".join(f'<dt class="{kind}">{kind}</dt><dd>{words}</dd>' for kind, words in _kinds_in(drawn))}</dl>
<p>A latent is some frames of the video as the model sees them: as one; the last of them is drawn. Tokens are places in
the sequence that the model reads. In the row above, dashes surround the segments whose latents were shown; a
line stands where another video begins.</p></footer>
<script>{lineage_look.SCRIPT}</script></body></html>
"""


def _summary(drawn: Drawn) -> str:
    video, last = drawn.video, drawn.path[-1] if drawn.path else None
    if last is None:
        return f"{video.id}, made by {video.model}, has no segment."
    frames = last.start_frame + last.frames
    return (
        f"{video.id}: {len(drawn.path)} segment{'s' if len(drawn.path) > 1 else ''}, {frames / video.fps:.1f} s, "
        f"{video.width}\N{MULTIPLICATION SIGN}{video.height}, made by {video.model}. Choose a segment to see what the "
        "model was shown when it made it; the arrow keys go from one to the next."
    )


def _notes(drawn: Drawn) -> str:
    before = len(drawn.path) - len(drawn.segments)
    notes = []
    if before > 0 and drawn.segments:
        seconds = drawn.segments[0].start_frame / drawn.video.fps
        notes.append(
            f"The first {before} segments, {seconds:.1f} s, are not drawn: `longtake lineage {drawn.video.id}` lists "
            "them, and tells of one by --segment."
        )
    if drawn.segments and not drawn.pictures:
        notes.append("There are no pictures: the video is not finished.")
    return "".join(f"<p class=note>{escape(note)}</p>" for note in notes)


def _makers(path: Sequence[Segment]) -> str:
    """The videos that the path goes through: what extended what."""
    runs = [(video, list(run)) for video, run in groupby(path, lambda segment: segment.video_id)]
    if len(runs) < 2:
        return ""
    items = "".join(f"<li><code>{escape(video)}</code> {_span(run)}</li>" for video, run in runs)
    return (
        f"<details><summary>A path through {len(runs)} videos: each extends the one before</summary>"
        f"<ol>{items}</ol></details>"
    )


def _span(run: Sequence[Segment]) -> str:
    first, last = run[0].index, run[-1].index
    return f"segment {first}" if first == last else f"segments {first} to {last}"


def _stations(drawn: Drawn) -> Iterator[str]:
    """The row."""
    before = ""
    for segment in drawn.segments:
        kind = "begins" if before not in ("", segment.video_id) else ""
        before = segment.video_id
        when = f"{segment.start_frame / drawn.video.fps:.1f} s"
        yield (
            f'<li class="{kind}"><a href="#s{segment.index}" aria-label="Segment {segment.index}, {when}" '
            f'title="{escape(segment.effective_prompt)}">{_shot(drawn, segment.start_frame + segment.frames - 1)}'
            f"<span>{segment.index} <small>{when}</small></span></a></li>"
        )


def _section(drawn: Drawn, segment: Segment) -> str:
    """One is seen at a time."""
    shown = sorted({latent.segment_index for source in segment.history for latent in source.latents})
    return (
        f'<section id="s{segment.index}" data-shown="{" ".join(map(str, shown))}" '
        f'aria-label="Segment {segment.index}">{_made(drawn, segment)}{_shown(drawn, segment)}</section>'
    )


def _made(drawn: Drawn, segment: Segment) -> str:
    """The segment itself."""
    first, end, fps = segment.start_frame, segment.start_frame + segment.frames, drawn.video.fps
    directions = segment.effective_prompt or ("It came from elsewhere." if segment.ingested else "")
    return (
        f"<div><h2>Segment {segment.index}<span>{_ways(drawn, segment)}</span></h2>"
        f"<div class=pair>{_shot(drawn, first, 'Its first frame')}{_shot(drawn, end - 1, 'Its last frame')}</div>"
        f"<p class=directions>{escape(directions)}</p>"
        f"<p class=soft>frames {first} to {end - 1}, {first / fps:.2f} to {end / fps:.2f} s, of "
        f"<code>{escape(segment.video_id)}</code><br>digest <code>{escape(segment.digest[:16])}</code></p></div>"
    )


def _ways(drawn: Drawn, segment: Segment) -> str:
    ways = {segment.index - 1: "\N{LEFTWARDS ARROW} before", segment.index + 1: "next \N{RIGHTWARDS ARROW}"}
    return "".join(f'<a href="#s{number}">{words}</a>' for number, words in ways.items() if drawn.has(number))


def _shown(drawn: Drawn, segment: Segment) -> str:
    """What it was made with."""
    sources = "".join(_source(drawn, source) for source in segment.history)
    name = "Not shown" if segment.history else "History"
    return (
        f"<div class=shown><h3>What it was shown</h3>{_budget(segment)}<ul>{sources}</ul>"
        f"<p class=rest>{name}: {escape(rest_of(segment))}.</p></div>"
    )


def _budget(segment: Segment) -> str:
    """A bar of the tokens by kind, told in words too."""
    tokens: dict[str, int] = {}
    for source in segment.history:
        tokens[kind_of(source)] = tokens.get(kind_of(source), 0) + source.tokens
    if not sum(tokens.values()):
        return ""
    parts = "".join(f'<i class="{kind}" style="flex-grow:{count}"></i>' for kind, count in tokens.items())
    words = ", ".join(f"{count} {kind}" for kind, count in tokens.items())
    return f"<div class=budget aria-hidden=true>{parts}</div><p class=soft>{sum(tokens.values())} tokens: {words}</p>"


def _source(drawn: Drawn, source: ShownSource) -> str:
    kind = kind_of(source)
    words = [f"picture {source.reference + 1}"] if source.HasField("reference") else []
    words += [word for word in (source.shows, tokens_of(source)) if word]
    views = "".join(_view(drawn, latent) for latent in source.latents)
    return f'<li class="{kind}"><h4>{kind}</h4><p>{escape("; ".join(words))}</p><div class=views>{views}</div></li>'


def _view(drawn: Drawn, latent: ShownLatent) -> str:
    place = escape(place_of(latent))
    if drawn.has(latent.segment_index):
        place = f'<a href="#s{latent.segment_index}">{place}</a>'
    shot = _shot(drawn, _frame(latent), f"Frame {_frame(latent)}")
    return f"<figure>{shot}<figcaption>latent {latent.number} at {place}</figcaption></figure>"


def _frame(latent: ShownLatent) -> int:
    """The one that is drawn for it."""
    return latent.start_frame + latent.frames - 1


def _shot(drawn: Drawn, frame: int, name: str = "") -> str:
    """A frame of the video; without a name it stands beside words that say the same."""
    if frame not in drawn.pictures:
        return '<div class="shot none"></div>'
    told = f'role=img aria-label="{escape(name)}"' if name else "aria-hidden=true"
    return f'<div class="shot f{frame}" {told}></div>'


def _kinds_in(drawn: Drawn) -> Iterator[tuple[str, str]]:
    """Those that are on the page, in words."""
    there = {kind_of(source) for segment in drawn.segments for source in segment.history}
    return ((kind, words) for kind, words in _KINDS.items() if kind in there)


def _inline(picture: bytes) -> str:
    return "data:image/webp;base64," + base64.b64encode(picture).decode()
