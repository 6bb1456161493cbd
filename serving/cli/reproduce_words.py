"""What `longtake reproduce` says of what came out, for people and for scripts; `reproduce.py` prints it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from serving.reproduction.bands import Measured
from serving.reproduction.judge import Judged
from serving.reproduction.newest import Replayed
from serving.reproduction.reproduce import Compared

_MEANINGS = {
    "latents": "the Denoiser computed other latents: another engine, CPU or thread count, or a changed input",
    "media": "the frames were decoded or encoded otherwise: another VAE engine, or another encoder library",
    "header": "the encoder describes its stream otherwise: another encoder library",
    "thumbnail": "the last frame was decoded otherwise, or another library writes PNG",
    "manifest": "its media are equal, and what is recorded about them is not",
    "image": "the image was computed or written otherwise",
}
"""Of a digest that is another one."""


def plain(one: Compared | Measured) -> dict[str, Any]:
    """One part, for scripts."""
    if isinstance(one, Compared):
        return {**vars(one), "equal": one.equal}
    told = {"found": _json(one.found), "allowed": _json(one.allowed), "in_band": one.good}
    return {"segment": one.segment, "what": one.what, **told}


def how(one: Compared | Measured) -> str:
    """What came of one part."""
    if isinstance(one, Compared):
        return "equal" if one.equal else f"differs: stored {one.stored[:16]}, made {one.made[:16]}"
    where = "in the band" if one.good else "beyond the band"
    return f"{where}: {_values(one.found)}; at most {_values(one.allowed)}"


def good(found: Judged) -> str:
    """That all of it is."""
    if not found.band:
        return f"all {len(found.found)} digests are equal"
    return f"all {len(found.found)} parts are in the band of {found.band}, at most {_share([found]):.0%} of it taken"


def wrong(found: Judged) -> str:
    """What the first part means that is otherwise; empty where none is."""
    first = found.first_wrong
    if first is None:
        return ""
    if isinstance(first, Compared):
        return f"segment {first.segment}: {first.what} differs first; {_MEANINGS[first.what]}"
    values = f"{_values(first.found)}, and at most {_values(first.allowed)} is allowed"
    return f"segment {first.segment}: {first.what} is beyond the band of {found.band} ({values}); {found.why}"


def otherwise(done: Sequence[Replayed]) -> list[str]:
    """Those that came out so, each with what it means."""
    return [f"{one.video}: {said}" for one in done if one.judged and (said := wrong(one.judged))]


def line(one: Replayed) -> str:
    """One of several videos, for people."""
    if one.judged is None:
        return f"could not be judged: {one.unjudged}" if one.unjudged else one.passed_over
    why = f"; {one.judged.why}" if one.judged.why else ""
    return wrong(one.judged) or good(one.judged) + why


def row(one: Replayed) -> dict[str, Any]:
    """The same for scripts."""
    band, parts = (one.judged.band, [plain(part) for part in one.judged.found]) if one.judged else ("", [])
    told = {"digests": [] if band else parts, "band": band, "measured": parts if band else []}
    over = {"passed_over": one.passed_over, "unjudged": one.unjudged}
    return {"tenant": one.tenant, "video": one.video, **over, **told}


def summary(done: Sequence[Replayed]) -> str:
    """Of those of which none came out otherwise, and all could be judged."""
    if not done:
        return "nothing to replay: the store has no finished video"
    over = [one.passed_over for one in done if one.passed_over]
    judged = [one.judged for one in done if one.judged]
    if not judged:
        return f"nothing to replay: {len(over)} passed over; {over[0]}"
    said = []
    if digests := sum(len(one.found) for one in judged if not one.band):
        said.append(f"all {digests} digests are equal")
    for band in dict.fromkeys(one.band for one in judged if one.band):
        ours = [one for one in judged if one.band == band]
        said.append(f"{len(ours)} of other engines in the band of {band}, at most {_share(ours):.0%} of it taken")
    passed = f"; {len(over)} passed over: {over[0]}" if over else ""
    return f"{len(judged)} replayed, {', '.join(said)}{passed}"


def _share(judged: Sequence[Judged]) -> float:
    return max((part.share for one in judged for part in one.found if isinstance(part, Measured)), default=0.0)


def _values(numbers: tuple[float, ...]) -> str:
    return ", ".join(f"{number:.2g}" for number in numbers)


def _json(numbers: tuple[float, ...]) -> list[float | None]:
    return [None if math.isnan(number) else number for number in numbers]
