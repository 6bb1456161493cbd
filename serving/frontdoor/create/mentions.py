"""References that a prompt names: `<ref1>`, and what else `engines/families/picture_names.py` knows. Pure;
`validation.py` calls it.

What each model makes of a name is its family's part; here one that names nothing is refused, for the video would show
something else.
"""

from __future__ import annotations

from engines.families.picture_names import named
from serving.errors import InvalidArgument
from serving.frontdoor.create.drafts import Draft


def check_mentions(draft: Draft) -> None:
    """Refuse a name of a reference that is not there. Raises `InvalidArgument`.

    An extension without references may name those of its video.
    """
    there = len(draft.references) or (1 if draft.first_frame else 0)
    if draft.extends and not draft.references:
        return
    for name, number in named(draft.prompt).items():
        if number >= there:
            raise InvalidArgument(draft.name("prompt"), f"it names {name}, and {_in_words(there)}")


def _in_words(there: int) -> str:
    match there:
        case 0:
            return "no reference is given"
        case 1:
            return "one reference is given"
    return f"{there} references are given"
