"""The caption grammar of the sprite model: free prompts are read as far as their words go.

    a red circle moves left over a grey background top inside      (something that words can name)
    <ref1> moves up over a navy background middle                  (what a reference picture shows)
    it moves down                                                  (what the given first frame shows)

`parse` reads a prompt into a `Reading`, `complete` draws from the seed what the model needs and the prompt
leaves open (a denoiser that must choose for itself chooses twice), `caption` writes the canonical text,
`tokenize` its ids.  Training uses the last two, the serving family all of them.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from engines.families.base import Subject
from engines.families.sprite.packing import TEXT_TOKENS
from engines.families.sprite.world import BACKGROUND_NAMES, COLOUR_NAMES, DIRECTION_NAMES, I64, LANE_NAMES, SHAPE_NAMES

VOCAB: Final = (
    *("<pad>", "a", "moves", "over", "it", "background", "<ref1>", *LANE_NAMES, "inside"),
    *COLOUR_NAMES,
    *SHAPE_NAMES,
    *DIRECTION_NAMES,
    *BACKGROUND_NAMES,
)
_IDS: Final = {word: i for i, word in enumerate(VOCAB)}


@dataclass(frozen=True)
class Reading:
    """What a prompt says.  None is what it leaves open."""

    colour: str | None = None
    shape: str | None = None
    background: str | None = None
    direction: str | None = None
    lane: str | None = None
    """Place across the motion: top, middle or bottom; for upward and downward motion left, centre, right."""
    inside: str | None = None
    """`inside`: the sprite starts one place off its wall; None: at the wall."""
    subject: Subject | None = None
    """What the words point at: `<ref1>` is a reference, `it` a given frame, a colour or shape is named."""
    understood: tuple[str, ...] = ()
    """`attribute: value`, with the user's word where it was another, in the order of the prompt."""
    ignored: tuple[str, ...] = ()
    """Words that were not understood, each once."""


def tokenize(caption: str) -> I64:
    """A canonical caption as int64 [14], padded with 0.  Raises ValueError for a foreign word."""
    words = caption.split()
    unknown = [word for word in words if word not in _IDS]
    if unknown or len(words) > TEXT_TOKENS:
        raise ValueError(
            f"caption: {caption[:200]!r} is not canonical (unknown words {unknown[:5]}, {len(words)} words of "
            f"at most {TEXT_TOKENS}): pass a prompt through parse(), complete() and caption() first"
        )
    ids = np.zeros(TEXT_TOKENS, np.int64)
    ids[: len(words)] = [_IDS[word] for word in words]
    return ids


def caption(reading: Reading, subject: Subject) -> str:
    """The canonical caption of a reading; parts that are None are left out."""
    if subject == "frame":
        words = ["it"]
    elif subject == "reference":
        words = ["<ref1>"]
    else:
        words = ["a", *(w for w in (reading.colour, reading.shape) if w)]
    if reading.direction:
        words += ["moves", reading.direction]
    if reading.background:
        words += ["over", "a", reading.background, "background"]
    words += [w for w in (reading.lane, reading.inside) if w]
    return " ".join(words)


def complete(reading: Reading, seed: int, *, subject: Subject, fixed: Reading | None = None) -> Reading:
    """Draw from the seed what the model needs and the prompt leaves open.

    Each attribute is drawn by itself, so to name one does not change the others.  For a given first frame
    only the direction is needed: colour, shape, background and place are the frame's, and what the prompt
    says of them is dropped.  An extension hands in its parent's reading as `fixed`, and that is the result:
    the model goes on with what moves where it moves (see `overruled` for what the prompt had asked
    otherwise).
    """
    if fixed is not None:
        return replace(fixed, understood=reading.understood, ignored=reading.ignored)
    direction = reading.direction or _draw(seed, "direction", DIRECTION_NAMES)
    if subject == "frame":
        return Reading(direction=direction, subject=subject, understood=reading.understood, ignored=reading.ignored)
    named = subject == "named"
    return replace(
        reading,
        colour=(reading.colour or _draw(seed, "colour", COLOUR_NAMES)) if named else None,
        shape=(reading.shape or _draw(seed, "shape", SHAPE_NAMES)) if named else None,
        background=reading.background or _draw(seed, "background", BACKGROUND_NAMES),
        direction=direction,
        lane=reading.lane or _draw(seed, "lane", LANE_NAMES),
        subject=subject,
    )


def overruled(reading: Reading, result: Reading) -> tuple[str, ...]:
    """What the prompt asked for and `complete` did not follow, as `attribute: asked (kept: value)`."""
    found = []
    for name in ("colour", "shape", "background", "direction", "lane", "inside"):
        asked, kept = getattr(reading, name), getattr(result, name)
        if asked is not None and asked != kept:
            found.append(f"{name}: {asked} (kept: {kept or 'as it is shown'})")
    return tuple(found)


def _draw(seed: int, attribute: str, choices: Sequence[str]) -> str:
    key = np.array([seed & (2**64 - 1), zlib.crc32(attribute.encode())], np.uint64)
    generator = np.random.Generator(np.random.Philox(key=key))
    return choices[int(generator.integers(len(choices)))]


# What follows reads free prompts.  A word is looked at with its neighbours, since "blue" may be a circle's
# colour or the sky behind it, and "left" a direction or a side to come from.

_SYNONYMS: Final[dict[str, dict[str, str]]] = {
    "colour": {
        "red": "red crimson scarlet ruby maroon vermilion rote roter rouge rojo",
        "green": "green lime emerald olive jade grün verde vert",
        "blue": "blue azure cobalt sapphire indigo blau bleu azul",
        "yellow": "yellow gold golden lemon amber gelb jaune amarillo",
        "purple": "purple violet magenta pink lilac fuchsia lavender",
        "cyan": "cyan turquoise teal aqua aquamarine",
    },
    "shape": {
        "circle": "circle circles disc disk disks ball balls dot sphere round circular orb coin bubble kreis",
        "square": "square squares box boxes block cube frame rectangle tile quadrat",
        "triangle": "triangle triangles triangular pyramid wedge cone dreieck",
        "cross": "cross crosses x plus crucifix kreuz",
    },
    "background": {
        "grey": "grey gray silver slate",
        "white": "white snow snowy ivory paper",
        "navy": "navy midnight",
        "black": "black dark darkness night void ebony",
    },
    "direction": {
        "left": "left leftward leftwards west westward westwards",
        "right": "right rightward rightwards east eastward eastwards",
        "up": "up upward upwards rising rises rise ascending ascends climbing climbs north northward skyward",
        "down": "down downward downwards falling falls fall descending descends sinking sinks drops south",
    },
    "lane": {
        "top": "top upper above highest",
        "middle": "middle centre center central centered centred halfway",
        "bottom": "bottom lower below lowest",
    },
    "inside": {"inside": "inside within inward"},
}
_MEANING: Final = {
    attribute: {word: value for value, words in values.items() for word in words.split()}
    for attribute, values in _SYNONYMS.items()
}
_REFERENCE: Final = re.compile(r"[<\[](?:ref|image|reference)[_ ]?\d+[>\]]|@image\d+")
_POINTERS: Final = {"it": "frame", "this": "frame", "that": "frame"}
_BEHIND: Final = {"on", "over", "against", "upon", "across", "onto", "before", "front"}
"""Words after which a colour belongs to the background."""
_SCENERY: Final = {
    "background",
    "backdrop",
    "sky",
    "canvas",
    "wall",
    "floor",
    "field",
    "sea",
    "screen",
    "scene",
}
_SAYS_NOTHING: Final = (
    "a an the and of in to is are on over against upon across onto before front with that which its moves"
    " move moving goes go going travels travel travelling traveling slides slide sliding flies fly flying drifts"
    " drift drifting runs run running video clip film shot show shows showing make please from at by towards toward"
    " side along through background backdrop colored coloured color colour shape shaped"
)
_FILLER: Final = frozenset(_SAYS_NOTHING.split())
_WORD: Final = re.compile(rf"{_REFERENCE.pattern}|<[^<>\s]{{1,24}}>|[^\W_]+", re.IGNORECASE)
_OPPOSITE: Final = {
    "left": "right",
    "right": "left",
    "up": "down",
    "down": "up",
    "top": "down",
    "bottom": "up",
}
_MAX_IGNORED: Final = 24
_MAX_WORD: Final = 40


class _Reader:
    """Goes through the words once, left to right; the first word for an attribute wins."""

    def __init__(self, words: list[str]) -> None:
        self.words = words
        self.values: dict[str, str] = {}
        self.subject: Subject | None = None
        self.understood: list[str] = []
        self.ignored: list[str] = []

    def near(self, i: int, offset: int) -> str:
        """The word so far from word i, or an empty one."""
        return self.words[i + offset] if 0 <= i + offset < len(self.words) else ""

    def take(self, attribute: str, value: str, word: str) -> None:
        """Note a value, unless the attribute has one already."""
        if self.values.setdefault(attribute, value) != value:
            self.ignore(word)
            return
        text = f"{attribute}: {value}" + ("" if word == value else f" ({word})")
        if text not in self.understood:
            self.understood.append(text)

    def ignore(self, word: str) -> None:
        """Note a word that says nothing to this model."""
        word = word[:_MAX_WORD]
        if word not in self.ignored and len(self.ignored) < _MAX_IGNORED:
            self.ignored.append(word)

    def read(self, i: int) -> None:
        """Understand word i."""
        word = self.words[i]
        if _REFERENCE.fullmatch(word):
            self.subject = "reference"
            self.understood.append(f"subject: the reference ({word})")
        elif word in _MEANING["background"] or word in _MEANING["colour"]:
            self._read_colour(i, word)
        elif word in _MEANING["shape"]:
            self.take("shape", _MEANING["shape"][word], word)
        elif word in _MEANING["direction"] or word in _MEANING["lane"]:
            self._read_place(i, word)
        elif word in _MEANING["inside"]:
            self.take("inside", "inside", word)
        elif word in _POINTERS:
            if self.subject is None and word == "it":
                self.subject = "frame"
        elif word not in _FILLER and word not in _SCENERY:
            self.ignore(word)

    def _is_scenery_colour(self, i: int, word: str) -> bool:
        """True for a colour that the words around give to the background; a blue one is navy."""
        if word not in _MEANING["background"] and _MEANING["colour"].get(word) != "blue":
            return False
        if self.near(i, 1) in _MEANING["shape"] or self.near(i, 1) in _MEANING["colour"]:
            return False
        if word in _MEANING["colour"] and self.near(i, -1) in ("dark", "deep", "navy"):
            return True
        if self.near(i, 1) in _SCENERY:
            return True
        before = self.near(i, -1)
        before = self.near(i, -2) if before in ("a", "an", "the", "of") else before
        before = self.near(i, -3) if before in ("a", "an", "the") else before
        return before in _BEHIND

    def _read_colour(self, i: int, word: str) -> None:
        """A colour is the sprite's or the background's; white, grey and black are never a sprite's here."""
        follower = self.near(i, 1)
        if self._is_scenery_colour(i, word):
            self.take("background", _MEANING["background"].get(word, "navy"), word)
        elif word in _MEANING["colour"]:
            self.take("colour", _MEANING["colour"][word], word)
        elif follower in _MEANING["shape"]:
            self.ignore(word)
        elif word != "dark" or (follower not in _MEANING["colour"] and follower not in _MEANING["background"]):
            self.take("background", _MEANING["background"][word], word)

    def _read_place(self, i: int, word: str) -> None:
        """A side to come from turns round; a side to be at is a lane; else it is where the motion goes."""
        before = self.near(i, -2) if self.near(i, -1) == "the" else self.near(i, -1)
        side = _MEANING["direction"].get(word) or _MEANING["lane"][word]
        if before == "from" and side in _OPPOSITE:
            self.take("direction", _OPPOSITE[side], f"from {word}")
        elif before in ("to", "towards", "toward") and side in _OPPOSITE:
            goal = {"top": "up", "bottom": "down"}.get(side, side)
            self.take("direction", goal, word if word == goal else f"to {word}")
        elif word in _MEANING["direction"]:
            self.take("direction", side, word)
        else:
            self.take("lane", side, word)


def parse(prompt: str) -> Reading:
    """Read a free prompt: synonyms, any word order, extra words, `<ref1>`, `<IMAGE_0>` and `[Image 1]`, `it`.

    Every prompt has a reading, an empty or foreign one simply leaves everything open.
    """
    reader = _Reader([word.lower() for word in _WORD.findall(prompt)])
    for i in range(len(reader.words)):
        reader.read(i)
    values = reader.values
    subject = reader.subject
    if subject is None and ("colour" in values or "shape" in values):
        subject = "named"
    if subject == "frame" and ("colour" in values or "shape" in values):
        subject = "named"
    return Reading(
        colour=values.get("colour"),
        shape=values.get("shape"),
        background=values.get("background"),
        direction=values.get("direction"),
        lane=values.get("lane"),
        inside=values.get("inside"),
        subject=subject,
        understood=tuple(reader.understood),
        ignored=tuple(reader.ignored),
    )
