"""References that a prompt names: `<ref1>`, `<IMAGE_1>`, `[Image 1]`, `@image1`. Pure; `validation.py` calls it.

Each door has its own way of writing them, and some count from 0. What each model makes of a name is its family's part;
here one that names nothing is refused, for the video would show something else.
"""

from __future__ import annotations

import re

from serving.errors import InvalidArgument
from serving.frontdoor.create.drafts import Draft

_WORDS = r"(?:ref|image|reference)[_ ]?([0-9]{1,6})"
_MENTION = re.compile(rf"<{_WORDS}>|\[{_WORDS}\]|(?<!\w)@image([0-9]{{1,6}})(?!\w)", re.IGNORECASE | re.ASCII)


def check_mentions(draft: Draft) -> None:
    """Refuse a name of a reference that is not there. Raises `InvalidArgument`.

    An extension without references may name those of its video.
    """
    there = len(draft.references) or (1 if draft.first_frame else 0)
    if draft.extends and not draft.references:
        return
    numbers = {found[0]: int(next(filter(None, found.groups()))) for found in _MENTION.finditer(draft.prompt)}
    first = 0 if 0 in numbers.values() else 1
    for name, number in numbers.items():
        if number >= there + first:
            raise InvalidArgument(draft.name("prompt"), f"it names {name}, and {_in_words(there)}")


def _in_words(there: int) -> str:
    match there:
        case 0:
            return "no reference is given"
        case 1:
            return "one reference is given"
    return f"{there} references are given"
