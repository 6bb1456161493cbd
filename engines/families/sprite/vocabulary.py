"""The words of free prompts, and what they mean to this model. `captions` reads with them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


def _meanings(values: Mapping[str, str]) -> Mapping[str, str]:
    return {word: value for value, words in values.items() for word in words.split()}


COLOURS: Final = _meanings(
    {
        "red": "red crimson scarlet ruby maroon vermilion rote roter rouge rojo",
        "green": "green lime emerald olive jade grün verde vert",
        "blue": "blue azure cobalt sapphire indigo blau bleu azul",
        "yellow": "yellow gold golden lemon amber orange gelb jaune amarillo",
        "purple": "purple violet magenta pink lilac fuchsia lavender",
        "cyan": "cyan turquoise teal aqua aquamarine",
    }
)
SHAPES: Final = _meanings(
    {
        "square": "square squares box boxes block cube tile quadrat circle ball disc",
        "slash": "slash diagonal stripe checker",
        "bar": "bar bars beam plank line rectangle",
        "corner": "corner angle hook bracket triangle",
    }
)
SKIES: Final = _meanings(
    {
        "grey": "grey gray silver slate cloudy overcast",
        "white": "white snow snowy ivory bright day",
        "navy": "navy midnight dusk",
        "black": "black dark darkness night",
    }
)
ACTIONS: Final = _meanings(
    {
        "stays": "stay stays still wait waits rest rests stop stops stand stands freeze freezes halt remain remains",
        "goes along": "along follow follows accompany accompanies",
        "goes on": "on continue continues onward onwards",
        "turns": "turn turns reverse reverses",
        "left": "left leftward leftwards west westward",
        "right": "right rightward rightwards east eastward",
        "up": "up upward upwards rise rises rising climb climbs ascend ascends north",
        "down": "down downward downwards fall falls falling sink sinks descend descends south",
    }
)
CAMERA_ACTIONS: Final = _meanings(
    {
        "holds": "hold holds stay stays still static fixed rest rests stop stops wait waits",
        "pans left": "left leftward leftwards west",
        "pans right": "right rightward rightwards east",
        "pans back": "back return returns",
        "pans": "pan pans panning",
    }
)
ROWS: Final = _meanings({"top": "top upper", "middle": "middle halfway", "bottom": "bottom lower"})
COLUMNS: Final = _meanings({"left": "left", "centre": "centre center", "right": "right"})
PLACING: Final = _words("at in on from near of")
"""After one of these "left" and "right" are places, not ways to go."""
SKY_NOUNS: Final = _words("sky background backdrop heaven")
SCENE_NOUNS: Final = _words("scene scenery landscape world place")
"""Behind one of these a reference is the scene's picture: `in the scene of <ref2>`."""
BINDING: Final = _words("of from in on the is as like")
"""These may stand between."""
FRAME_NOUNS: Final = _words("view shot frame")
CAMERA_NOUNS: Final = FRAME_NOUNS | {"camera"}
ANOTHER: Final = _words("another second other")
ONE_MORE: Final = ANOTHER | _words("a an")
"""Before a name these say that it is not of what was spoken of before."""
POINTERS: Final = _words("it he she this that one")
EVERYONE: Final = _words("they both all everything everyone them")
NEXT: Final = _words("then afterwards next")
STOPS: Final = frozenset(".;!?\n")
FILLER: Final = _words(
    "a an the and is are while as with under over move moves moving go goes going pan pans walk walks run runs fly "
    "flies slide slides drift drifts to its her his subject side part , come comes coming keep keeps keeping "
    "in at on of from there where again now just also another thing second first video corner scene shows show"
)
