"""What an extension of Wan-VACE refers to of its video, beside the clip that it goes on from: its first latent, and
keyframes. Pure; `vace.py` plans by it.

A picture that is referred to is the latent of a still. Of a video's latents only two kinds are: its first one, and the
first one of each extension's clip, which is stored in front of the extension's own. It shows where the scene before
stood a second before its end, and it is all that a keyframe takes: nothing is decoded for it, and nothing encoded.

Which are shown: those whose segments' captions have most in common with the caption of the segment that is made, and
among equals those that lie farthest from all else that is shown. So a scene that comes back is shown as it was, and a
video of one caption is shown from end to end. A word counts the less the more of the keyframes have it.

Which are kept: a dozen. Where there is one too many, one goes that stands beside another of nearly its own caption,
where they stand closest; if every one is of another scene, simply where they stand closest.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from engines.families.history import Before, HistoryPlan, Source

BESIDE: Final = 4
"""Latents that are denoised beside an extension's clip, at most: the user's pictures and the first latent of the video
come first, keyframes have the rest. So no extension costs more than one with all the pictures that a user may give."""
KEPT: Final = 12
"""Keyframes of a video."""
_WORDS: Final = 32
"""Of a caption, the first ones."""
_LETTERS: Final = 16
"""Of a word."""
_TOLD: Final = 4
"""Words for which a keyframe is said to be shown."""
_WORD: Final = re.compile(r"[\u3040-\u9fff]|[^\W\u3040-\u9fff]+")
"""Chinese and Japanese are written without spaces: there each letter is a word."""

Words = tuple[str, ...]
"""Of a caption: each once, in order."""


@dataclass(frozen=True)
class Keyframe:
    """A still of the video."""

    number: int
    """The latent whose last frame it shows."""
    words: Words
    """Of the caption of what it shows."""


@dataclass(frozen=True)
class Known:
    """A plan's facts."""

    words: Words = ()
    """Of the newest segment's caption; none of what was not made here."""
    keyframes: tuple[Keyframe, ...] = ()
    """In order, the last one that with which the newest segment's clip begins."""

    def encode(self) -> str:
        """As a plan's `facts`."""
        said = {"words": self.words, "keyframes": [(one.number, one.words) for one in self.keyframes]}
        return json.dumps(said, separators=(",", ":"), ensure_ascii=False)

    @classmethod
    def decode(cls, text: str) -> Known:
        """What `encode` wrote; nothing of a video that was made elsewhere, or before there were keyframes."""
        if not text:
            return cls()
        said = json.loads(text)
        return cls(tuple(said["words"]), tuple(Keyframe(number, tuple(words)) for number, words in said["keyframes"]))


def plan(caption: str, before: Before, *, lead: int, latent_tokens: int) -> HistoryPlan:
    """Of the segment with this caption: in the order of the sequence, what it refers to and the `lead` latents that its
    clip begins with."""
    known, said = Known.decode(before.facts), words(caption)
    pictures = [Source("reference", (number,), latent_tokens) for number in reversed(range(len(before.references)))]
    if not before.latents:
        return HistoryPlan(tuple(pictures), facts=Known(said).encode())
    newest = tuple(range(max(0, before.latents - lead), before.latents))
    room = max(0, BESIDE - 1 - len(pictures))
    memory = _chosen(known.keyframes, said, shown={0, *newest}, room=room)
    kept = _kept(known, begins=before.latents - lead)
    return HistoryPlan(
        (
            *(Source("memory", (one.number,), latent_tokens, _why(one, said, known.keyframes)) for one in memory),
            Source("anchor", (0,), latent_tokens),
            *pictures,
            Source("newest", newest, latent_tokens * len(newest)),
        ),
        keep=tuple(one.number for one in kept),
        facts=Known(said, kept).encode(),
    )


def words(caption: str) -> Words:
    """Of a caption those that it is told apart by."""
    found = (word[:_LETTERS] for word in _WORD.findall(caption.casefold()))
    return tuple(dict.fromkeys(found))[:_WORDS]


def _chosen(keyframes: Sequence[Keyframe], said: Words, *, shown: set[int], room: int) -> list[Keyframe]:
    """Those that are shown besides what is `shown` anyway, the newest first."""
    counts, taken, chosen = _counts(keyframes), set(shown), list[Keyframe]()

    def worth(one: Keyframe) -> tuple[float, int]:
        alike = math.fsum(1 / counts[word] for word in one.words if word in said)  # the same sum in any order
        return alike, min(abs(one.number - number) for number in taken)

    left = [one for one in keyframes if one.number not in taken]
    while left and len(chosen) < room:
        best = max(left, key=worth)
        left.remove(best)
        taken.add(best.number)
        chosen.append(best)
    return sorted(chosen, key=lambda one: -one.number)


def _kept(known: Known, *, begins: int) -> tuple[Keyframe, ...]:
    """Those known and the one with which the segment's clip begins, at most `KEPT`. A clip may begin before its video,
    of which then there was less than the clip takes: with the first frame, stood still."""
    if begins <= 0:
        return known.keyframes
    found = (*known.keyframes, Keyframe(begins, known.words))
    if len(found) <= KEPT:
        return found

    def worth(place: int) -> tuple[bool, int]:
        earlier, one, later = found[place - 1 : place + 2]
        alone = not (_alike(one.words, earlier.words) or _alike(one.words, later.words))
        return alone, later.number - earlier.number

    goes = min(range(1, len(found) - 1), key=worth)
    return found[:goes] + found[goes + 1 :]


def _alike(one: Words, another: Words) -> bool:
    """Whether two captions have more words in common than not."""
    return 2 * len({*one} & {*another}) > len({*one, *another})


def _why(one: Keyframe, said: Words, keyframes: Sequence[Keyframe]) -> str:
    """What it is shown for: words that it has and another one has not."""
    counts = _counts(keyframes)
    telling = [word for word in one.words if word in said and counts[word] < len(keyframes)]
    rarest = sorted(telling, key=lambda word: counts[word])[:_TOLD]
    return f"a keyframe, for: {' '.join(rarest)}" if rarest else "a keyframe, far from all else that is shown"


def _counts(keyframes: Iterable[Keyframe]) -> Counter[str]:
    """How many have each word."""
    return Counter(word for one in keyframes for word in one.words)
