"""How a prompt calls the pictures that come with it: `<ref1>`, `<IMAGE_1>`, `[Image 1]`, `@image1`. Pure.

Each door has its own way of writing them, and some count from 0. The front door refuses a name of a picture that is not
there (`serving/frontdoor/create/mentions.py`), and a family that shows pictures by name reads the same ones
(`sprite/captions.py`): what the one takes for a name, the other does.
"""

from __future__ import annotations

import re
from typing import Final

_WORDS: Final = r"(?:ref|image|reference)[_ ]?[0-9]{1,6}"
NAME: Final = rf"(?ai:< {{0,4}}{_WORDS} {{0,4}}>|\[ {{0,4}}{_WORDS} {{0,4}}\]|(?<!\w)@image[0-9]{{1,6}}(?!\w))"
"""A name, as a part of an expression; it has no groups. Letters may be large or small, digits are those of ASCII."""
_NAME: Final = re.compile(NAME)
_NUMBER: Final = re.compile("[0-9]+")


def named(prompt: str) -> dict[str, int]:
    """The names that stand in a prompt, as they are written there, and the number of each one's picture, from 0.

    Where a prompt calls a picture by the number 0 all of them count from 0, else from 1.
    """
    written = {name: int(_NUMBER.findall(name)[0]) for name in dict.fromkeys(_NAME.findall(prompt))}
    first = 0 if 0 in written.values() else 1
    return {name: number - first for name, number in written.items()}
