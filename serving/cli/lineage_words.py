"""Segments in words: what each shows, and what it was shown. Pure; `lineage.py` and `lineage_page.py` say them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from serving.gen.longtake.v1.videos_pb2 import Segment, ShownLatent, ShownSource


def line_of(segment: Segment) -> str:
    """One of a list."""
    last = segment.start_frame + segment.frames - 1
    mark = "ingested" if segment.ingested else segment.effective_prompt
    return (
        f"{segment.index:>5}  {segment.digest[:12]}  frames {segment.start_frame:>5}-{last:<5} "
        f"{segment.video_id}  {mark}"
    )


def lines_of(segment: Segment, fps: int) -> Iterator[str]:
    """All that is told of one, in lines."""
    first, end = segment.start_frame, segment.start_frame + segment.frames
    told = {
        "segment": f"{segment.index}  {segment.digest}",
        "frames": f"{first}-{end - 1} ({first / fps:.2f} to {end / fps:.2f} s)",
        "made by": segment.video_id,
        "goes on from": segment.parent,
        "directions": segment.effective_prompt,
    }
    for name, value in told.items():
        if value:
            yield f"{name:<14} {value}"
    for source in segment.history:
        words = [places_of(source), source.shows, tokens_of(source)]
        yield f"{kind_of(source):<14} {'; '.join(word for word in words if word)}"
    yield f"{'not shown' if segment.history else 'history':<14} {rest_of(segment)}"


def kind_of(source: ShownSource) -> str:
    """`memory`."""
    from serving.gen.longtake.v1.videos_pb2 import ShownSource as Message

    if source.kind == Message.KIND_UNSPECIFIED:
        return "other"
    return Message.Kind.Name(source.kind).lower()


def tokens_of(source: ShownSource) -> str:
    """`20 tokens`."""
    return f"{source.tokens} token{'' if source.tokens == 1 else 's'}"


def places_of(source: ShownSource) -> str:
    """Which picture, or which latents and where in the video those are."""
    if source.HasField("reference"):
        return f"picture {source.reference + 1}"
    return ", ".join(f"latent {latent.number} at {place_of(latent)}" for latent in source.latents)


def place_of(latent: ShownLatent) -> str:
    """`3.06 s, of segment 2`."""
    return f"{latent.time.ToMilliseconds() / 1000:.2f} s, of segment {latent.segment_index}"


def rest_of(segment: Segment) -> str:
    """What of the video it was not shown."""
    if segment.ingested:
        return "it was not made here"
    if not segment.history:
        return "none was noted" if segment.index else "it is the first, and was shown nothing but its directions"
    if not segment.index:
        return "nothing: the video begins with it"
    shown = {latent.number for source in segment.history for latent in source.latents}
    if not segment.history_left_out:
        return "nothing: it was shown all that there was"
    return f"{segment.history_left_out} of the {len(shown) + segment.history_left_out} latents before it"
