"""Whom a prompt means: the subjects that a first second shows, and those of which a later one speaks.

`planner` asks. What the prompt leaves open is drawn from the seed.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product
from typing import TypeVar

import numpy as np

from engines.families.sprite import vocabulary
from engines.families.sprite.script import Mention
from engines.families.sprite.stage import Place, State
from engines.families.sprite.world import COLOUR_NAMES, SHAPE_NAMES, SUBJECTS_MAX, Grid

Noun = tuple[str, str]
"""What a subject is called: see `words.noun`."""
_Choice = TypeVar("_Choice")


class Draw:
    """Draws each open thing by itself, so to name one does not change the others."""

    def __init__(self, seed: int, attempt: int = 0) -> None:
        """`attempt`: what was drawn before could not be."""
        self.seed = seed
        self.attempt = attempt

    def __call__(self, what: str, choices: Sequence[_Choice]) -> _Choice:
        return choices[int(self.generator(what).integers(len(choices)))]

    def generator(self, what: str) -> np.random.Generator:
        told = f"{what}, again {self.attempt}" if self.attempt else what
        key = np.array([self.seed & (2**64 - 1), zlib.crc32(told.encode())], np.uint64)
        return np.random.Generator(np.random.Philox(key=key))


def cast_of(
    mentions: Sequence[Mention], draw: Draw, references: Sequence[int]
) -> tuple[list[tuple[Noun, Mention]], list[str]]:
    """Whom a first second shows, and all that is said of each: those that it names, at most two, and each of these
    references."""
    warnings = []
    found: list[Noun] = []
    spoken_of: dict[int, Noun] = {}
    """By the mention's place."""
    loose = []
    names = _names(mentions)
    for place, mention in enumerate(mentions):
        if mention.reference is None and not (mention.colour or mention.shape):
            loose.append(place)
            continue
        if mention.reference is not None and mention.reference not in references:
            warnings.append(f"not followed: {called(mention)} (no such subject is given)")
            continue
        noun = _spoken_of_before(mention, found) or _noun_of(mention, len(found), names.union(found), draw)
        if noun in found and mention.reference is None and mention.article in vocabulary.ONE_MORE:
            warnings.append(f"not followed: another {called(mention)} (two of one name cannot be told apart)")
            if _is_other(mention, _in_one(_all_of(noun, mentions, spoken_of))):
                continue
        if noun not in found:
            if len(found) == SUBJECTS_MAX:
                warnings.append(f"not followed: {called(mention)} (this model shows {SUBJECTS_MAX} subjects)")
                continue
            found.append(noun)
        spoken_of[place] = noun
    for noun in _unnamed(found, references, draw):
        found.append(noun)
        if loose:
            spoken_of[loose.pop(0)] = noun
    _understand_it(mentions, spoken_of, loose, found[0])
    return [(noun, _directed(noun, mentions, spoken_of)) for noun in found], warnings


def _unnamed(found: Sequence[Noun], references: Sequence[int], draw: Draw) -> list[Noun]:
    """Who is there, too: the other pictures, and where there is nobody at all, one that is drawn."""
    pictures = [noun for noun in map(_picture, references) if noun not in found][: SUBJECTS_MAX - len(found)]
    return pictures if found or pictures else [_noun_of(Mention(), 0, set(), draw)]


def _names(mentions: Sequence[Mention]) -> set[Noun]:
    """The names of those that are told apart from who was spoken of before, where they are said in full."""
    others = [mention for mention in mentions if mention.article in vocabulary.ONE_MORE]
    return {(mention.colour, mention.shape) for mention in others if mention.colour and mention.shape}


def _spoken_of_before(mention: Mention, found: Sequence[Noun]) -> Noun | None:
    """`the bar` is the red bar that was named just before, and no bar of another colour."""
    if mention.article != "the":
        return None
    return next((noun for noun in reversed(found) if _fits(mention, noun)), None)


def _fits(mention: Mention, noun: Noun) -> bool:
    """Whether what is said of a name is so of this one."""
    said = (mention.colour, mention.shape)
    return mention.reference is None and all(word in (None, own) for word, own in zip(said, noun, strict=True))


def _understand_it(mentions: Sequence[Mention], spoken_of: dict[int, Noun], loose: Sequence[int], last: Noun) -> None:
    """What is said of `it` is said of the subject that was named before, at first of `last`."""
    for place, mention in enumerate(mentions):
        last = spoken_of.get(place, last)
        if mention.pointer and place in loose:
            spoken_of[place] = last


def _is_other(mention: Mention, said: Mention) -> bool:
    """Whether a second mention of a name cannot mean the subject of which that was said."""
    told = ((mention.action, said.action), (mention.row, said.row), (mention.column, said.column))
    return mention.article in vocabulary.ANOTHER or any(a and b and a != b for a, b in told)


def _noun_of(mention: Mention, number: int, taken: set[Noun], draw: Draw) -> Noun:
    """What is open of a name is drawn, so that it is no other's."""
    if mention.reference is not None:
        return _picture(mention.reference)
    noun = (
        mention.colour or draw(f"colour {number}", COLOUR_NAMES),
        mention.shape or draw(f"shape {number}", SHAPE_NAMES),
    )
    others = [other for other in product(COLOUR_NAMES, SHAPE_NAMES) if _fits(mention, other) and other not in taken]
    return draw(f"name {number}", others) if noun in taken and others else noun


def _picture(reference: int) -> Noun:
    return f"<ref{reference + 1}>", "<pad>"


def _directed(noun: Noun, mentions: Sequence[Mention], spoken_of: Mapping[int, Noun]) -> Mention:
    """All that is said of one subject, and what all do where it is not said what it does."""
    everyone = next((mention.action for mention in mentions if mention.everyone), None)
    said = _in_one(_all_of(noun, mentions, spoken_of))
    return replace(said, action=said.action or everyone)


def _all_of(noun: Noun, mentions: Sequence[Mention], spoken_of: Mapping[int, Noun]) -> list[Mention]:
    """The mentions that are of one subject."""
    return [mentions[place] for place in sorted(spoken_of) if spoken_of[place] == noun]


def _in_one(mentions: Sequence[Mention]) -> Mention:
    """All that is said of one subject, in order; where it is said twice what it does, the later word counts."""
    said = Mention()
    for more in mentions:
        said = replace(
            said, action=more.action or said.action, row=more.row or said.row, column=more.column or said.column
        )
    return said


def places_of(cast_: Sequence[tuple[Noun, Mention]], draw: Draw, grid: Grid) -> tuple[list[Place], list[str]]:
    """A place for each: where the prompt says, else drawn; never two in one. And a warning of each that is taken."""
    taken: list[Place] = []
    warnings = []
    for number, (noun, mention) in enumerate(cast_):
        free = [place for place in _places(mention, grid) if place not in taken]
        if not free:
            warnings.append(f"not followed: {name_of(noun)} {mention.where}: another subject is there")
            free = [place for place in _places(Mention(), grid) if place not in taken]
        taken.append(draw(f"place {number}", free))
    return taken, warnings


def _places(mention: Mention, grid: Grid) -> list[Place]:
    """On the screen, where the mention says."""
    rows = {"top": 0, "middle": (grid.sky_rows - 1) // 2, "bottom": grid.sky_rows - 1}
    cols = {"left": 0, "centre": (grid.cols - 1) // 2, "right": grid.cols - 1}
    return [
        (col, row)
        for col in ([cols[mention.column]] if mention.column else range(grid.cols))
        for row in ([rows[mention.row]] if mention.row else range(grid.sky_rows))
    ]


def is_elsewhere(mention: Mention, meant: Sequence[int], state: State, grid: Grid) -> bool:
    """Whether an extension's prompt says a place where not all stand whom it means, and does not tell them by it."""
    if not mention.where or (_is_of_a_side(mention) and (mention.place_first or len(_on_screen(state, grid)) > 1)):
        return False
    there = _places(mention, grid)
    return any((state.column_on_screen(i), state.places[i][1]) not in there for i in meant)


def _is_of_a_side(mention: Mention) -> bool:
    """`the one on the left`: where there are two, that tells which."""
    named = mention.everyone or mention.reference is not None or mention.colour or mention.shape
    return not named and mention.column in ("left", "right")


def _on_screen(state: State, grid: Grid) -> list[int]:
    return [i for i in range(len(state.places)) if state.column_on_screen(i) < grid.cols]


def meant_by(mention: Mention, nouns: Sequence[Noun], state: State, grid: Grid, last: int | None) -> list[int]:
    """The subjects of which an extension's prompt speaks; `it` is the one of which it spoke `last`."""
    everyone = list(range(len(nouns)))
    if mention.everyone:
        return everyone
    if mention.reference is not None:
        return [i for i, noun in enumerate(nouns) if noun[0] == f"<ref{mention.reference + 1}>"]
    if mention.colour or mention.shape:
        fits = [i for i, noun in enumerate(nouns) if _fits(mention, noun)]
        return fits or [i for i, noun in enumerate(nouns) if noun[0] == "it"][:1]
    on_screen = _on_screen(state, grid)
    if _is_of_a_side(mention) and len(on_screen) > 1:
        ordered = sorted(on_screen, key=state.column_on_screen)
        return [ordered[0] if mention.column == "left" else ordered[-1]]
    return [last] if last is not None else (on_screen or everyone)[:1]


def name_of(noun: Noun) -> str:
    """The subject as a warning names it."""
    return noun[0] if noun[1] == "<pad>" else f"the {noun[0]} {noun[1]}"


def called(mention: Mention) -> str:
    """The mention as a warning names it."""
    if mention.reference is not None:
        return f"<ref{mention.reference + 1}>"
    return " ".join(word for word in (mention.colour, mention.shape) if word) or "such subject"
