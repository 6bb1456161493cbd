"""What a prompt says, second by second: `captions` reads it, `casting` and `planner` follow it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal

NO_PANS: Final = ("pans up", "pans down")
"""What may be said of the camera, and cannot be."""
LAST: Final = -1
"""The scene's picture, where the words only say that there is one."""


@dataclass
class Mention:
    """A subject as a second speaks of it. None is what it leaves open."""

    colour: str | None = None
    shape: str | None = None
    reference: int | None = None
    """Among the pictures, from 0."""
    pointer: bool = False
    """Only `it` was said."""
    everyone: bool = False
    article: str = field(default="", compare=False)
    """The word before its name. What was spoken of before is called `the …`."""
    action: str | None = None
    """One of `directing.Action`, or `turns`."""
    row: str | None = None
    column: str | None = None
    place_first: bool = field(default=False, compare=False)
    """The place is said before what it does, as in `the one on the left stops`."""

    @property
    def who(self) -> str:
        """Of whom a warning speaks."""
        if self.everyone:
            return "everyone"
        if self.reference is not None:
            return f"<ref{self.reference + 1}>"
        name = " ".join(word for word in (self.colour, self.shape) if word)
        return f"the {name}" if name else "it"

    @property
    def where(self) -> str:
        """The place that is said: `at the top left`, or nothing."""
        place = " ".join(word for word in (self.row, self.column) if word)
        return place and f"at the {place}"


def deed(action: str) -> str:
    """An action as it is said."""
    return f"moves {action}" if action in ("left", "right", "up", "down") else action


@dataclass(frozen=True)
class SkyWord:
    """A word that names a sky."""

    word: str
    sky: str
    of: Literal["sky", "subject", "nothing"]
    """What it stands before: `a navy sky`, `a white square`, `at night`."""


@dataclass
class Second:
    """What a prompt says of one second."""

    mentions: list[Mention] = field(default_factory=list)
    cameras: list[str] = field(default_factory=list)
    """All that is said of the camera, in order."""
    skies: list[SkyWord] = field(default_factory=list)
    not_followed: list[str] = field(default_factory=list)
    """Warnings of what was read, and has no place in a second."""

    @property
    def camera(self) -> str | None:
        """One of `directing.Camera`, `pans back`, or `pans` where no way was said: what is said first."""
        able = [camera for camera in self.cameras if camera not in NO_PANS]
        said = [camera for camera in able if camera != "pans"]
        return next(iter(said), "pans" if able and able == self.cameras else None)

    @property
    def sky(self) -> str | None:
        """The sky that is asked for: what is said of the sky itself comes first."""
        return self._sky_word.sky if self._sky_word else None

    @property
    def _sky_word(self) -> SkyWord | None:
        return next((word for word in self.skies if word.of == "sky"), next(iter(self.skies), None))

    def skies_not_followed(self, sky: str, why: str) -> list[str]:
        """A warning of each word that asks for another sky than this one, or that colours a subject in vain."""
        warnings = []
        for word in self.skies:
            if word.of == "subject" and (word is not self._sky_word or word.sky != sky):
                warnings.append(f"not followed: {word.word} (a sky's colour, and no subject's)")
            elif word.sky != sky:
                warnings.append(f"not followed: sky: {word.sky} ({why})")
        return list(dict.fromkeys(warnings))

    @property
    def says_something(self) -> bool:
        """False for a second of which nothing was understood."""
        return bool(self.mentions or self.cameras or self.skies)


@dataclass(frozen=True)
class Script:
    """A prompt, read."""

    seconds: tuple[Second, ...]
    """At least one."""
    understood: tuple[str, ...]
    ignored: tuple[str, ...]
    """Words that were not understood, each once."""
    scene: int | None = None
    """The number of the picture that the words call the scene; `LAST` for the last one."""
