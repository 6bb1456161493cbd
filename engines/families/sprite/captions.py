"""The caption grammar of sprite-2: free prompts are read as far as their words go, second by second.

    a red bar at the top left moves right and <ref1> stays under a navy sky, the camera pans left
    it turns and moves down, then the camera pans back
    both go along

A second has what each subject does, the sky, and the camera. `then`, and the end of a sentence, begin the next one.
What a second does not mention it leaves open; `planner` fills that in.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final, Literal

from engines.families import picture_names
from engines.families.sprite import vocabulary
from engines.families.sprite.script import LAST, Mention, Script, Second, SkyWord, deed

_BRACKETED: Final = r"<[^<>\[\]@]{1,24}>|\[[^<>\[\]@]{1,24}\]"
"""Another word in brackets: none that a picture's name may stand in."""
_TOKEN: Final = re.compile(rf"{picture_names.NAME}|{_BRACKETED}|[^\W_]+|[.,;!?\n]")
_SCENE: Final = re.compile(r"[<\[]\s*scene\s*[>\]]")
_MAX_IGNORED: Final = 24
_MAX_WORD: Final = 40
_NOBODY: Final = Mention()


def parse(prompt: str) -> Script:
    """Read a free prompt. Every prompt has a reading; an empty or foreign one leaves everything open."""
    pictures = picture_names.named(prompt)
    words = _TOKEN.findall(prompt)
    reader = _Reader([word if word in pictures else word.lower() for word in words], pictures)
    for i in range(len(reader.words)):
        reader.read(i)
    seconds = [second for second in reader.seconds if second.says_something]
    return Script(tuple(seconds or [Second()]), tuple(reader.understood), tuple(reader.ignored), reader.scene)


class _Reader:
    """Goes through the words once, left to right, and knows of whom it reads."""

    def __init__(self, words: Sequence[str], pictures: Mapping[str, int]) -> None:
        """`pictures`: those words that are names of pictures, and the number of each one's."""
        self.words = words
        self._pictures = pictures
        self.seconds = [Second()]
        self.understood: list[str] = []
        self.ignored: list[str] = []
        self.scene: int | None = None
        self._of_camera = ""
        """The word that speaks of the camera, while it does."""
        self._of_scene = False
        self._in_noun = False
        """The words just before belong to a subject's name, so the next one may, too."""

    @property
    def _second(self) -> Second:
        return self.seconds[-1]

    def read(self, i: int) -> None:
        """Understand word i."""
        word, of_scene = self.words[i], self._of_scene
        self._of_scene = word in vocabulary.SCENE_NOUNS or (of_scene and word in vocabulary.BINDING)
        if word in vocabulary.STOPS or word in vocabulary.NEXT:
            self._end_second()
        elif word in self._pictures:
            self._refer(word, self._pictures[word], of_scene=of_scene)
        elif _SCENE.fullmatch(word):
            self.scene = LAST
            self._note("scene", "the last picture", word)
        elif word in vocabulary.SCENE_NOUNS:
            self._of_camera, self._in_noun = "", False
        elif word in vocabulary.CAMERA_NOUNS:
            self._of_camera, self._in_noun = word, False
        elif not (self._read_name(i, word) or self._read_deed(i, word)) and word not in vocabulary.FILLER:
            self._ignore(word)

    def _refer(self, word: str, number: int, *, of_scene: bool) -> None:
        """A picture is named: as the scene, where the words just before say so; else as a subject."""
        if of_scene:
            self.scene = number
            self._note("scene", f"picture {number + 1}", word)
        else:
            self._name(word, reference=number)

    def _end_second(self) -> None:
        if self._second.says_something:
            self.seconds.append(Second())
        self._of_camera, self._in_noun = "", False

    def _read_name(self, i: int, word: str) -> bool:
        """A word that says who or what is meant."""
        of_sky = any(w in vocabulary.SKY_NOUNS for w in self.words[i + 1 : i + 2])
        if word in vocabulary.SKIES or (of_sky and vocabulary.COLOURS.get(word) == "blue"):
            sky = vocabulary.SKIES.get(word, "navy")
            self._second.skies.append(SkyWord(word, sky, self._what_follows(i)))
            self._note("sky", sky, word)
        elif word in vocabulary.SKY_NOUNS:
            self._in_noun = False
        elif word in vocabulary.COLOURS:
            self._name(word, article=self._near(i, -1), colour=vocabulary.COLOURS[word])
        elif word in vocabulary.SHAPES and not (word == "corner" and self._is_place(i)):
            self._name(word, article=self._near(i, -1), shape=vocabulary.SHAPES[word])
        elif word in vocabulary.POINTERS:
            if not self._in_noun:
                self._name(word, pointer=True)
        elif word in vocabulary.EVERYONE:
            self._name(word, everyone=True)
        else:
            return False
        return True

    def _what_follows(self, i: int) -> Literal["sky", "subject", "nothing"]:
        """What a word like `white` stands before, over other such words: `a dark blue sky` is no dark subject."""
        following = (word for word in self.words[i + 1 :] if word not in vocabulary.SKIES)
        one, other = next(following, ""), next(following, "")
        if one in vocabulary.SKY_NOUNS or (one in vocabulary.COLOURS and other in vocabulary.SKY_NOUNS):
            return "sky"
        return "subject" if one in vocabulary.COLOURS or one in vocabulary.SHAPES else "nothing"

    def _name(self, word: str, *, article: str = "", **values: str | int | bool) -> None:
        """Begin a mention, or say more of the one that is being named. `article`: the word before."""
        mention = self._second.mentions[-1] if self._in_noun and self._second.mentions else None
        if mention is None or any(getattr(mention, name) is not getattr(_NOBODY, name) for name in values):
            mention = Mention(article=article)
            self._second.mentions.append(mention)
        for name, value in values.items():
            setattr(mention, name, value)
        self._of_camera, self._in_noun = "", True
        self._note("subject", " ".join(str(v) if v is not True else word for v in values.values()), word)

    def _read_deed(self, i: int, word: str) -> bool:
        """A word that says what is done, or where."""
        if word in ("pan", "pans", "panning"):
            self._of_camera = word
        if self._of_camera and word in vocabulary.CAMERA_ACTIONS:
            self._direct_camera(vocabulary.CAMERA_ACTIONS[word], word)
            return True
        if self._is_no_pan(word):
            self._direct_camera(f"pans {vocabulary.ACTIONS[word]}", word)
            return True
        self._in_noun = self._in_noun and word in vocabulary.PLACING
        if self._is_place(i) and (word in vocabulary.ROWS or word in vocabulary.COLUMNS):
            mention = self._current()
            mention.place_first = mention.action is None
            mention.row = vocabulary.ROWS.get(word, mention.row)
            mention.column = vocabulary.COLUMNS.get(word, mention.column)
            self._note("place", vocabulary.ROWS.get(word) or vocabulary.COLUMNS[word], word)
            return True
        if word in vocabulary.ACTIONS and not (word == "on" and self._near(i, 1) in ("the", "top", "a")):
            mention, action = self._current(), vocabulary.ACTIONS[word]
            if mention.action is None or mention.action == "turns":
                mention.action = action
                self._note("action", action, word)
            elif action not in (mention.action, "goes on") and not self._is_preposition(i):
                self._second.not_followed.append(
                    f"not followed: {mention.who} {deed(action)}: a second has one action for each, here "
                    f"`{deed(mention.action)}`"
                )
            return True
        return False

    def _direct_camera(self, action: str, word: str) -> None:
        self._second.cameras.append(action)
        self._note("camera", action, word)

    def _is_no_pan(self, word: str) -> bool:
        """`the camera pans up`; but `at the top of the frame moves down` speaks of a subject."""
        of_camera = self._of_camera and self._of_camera not in vocabulary.FRAME_NOUNS
        return bool(of_camera and vocabulary.ACTIONS.get(word) in ("up", "down") and self._second.camera != "holds")

    def _current(self) -> Mention:
        """Of whom a deed is told: the subject named last, or nobody in particular."""
        if not self._second.mentions:
            self._second.mentions.append(Mention(pointer=True))
        return self._second.mentions[-1]

    def _is_preposition(self, i: int) -> bool:
        """`to the right of the scene`, `along the ground`."""
        return self._near(i, 1) == "of" or (self.words[i] == "along" and self._near(i, 1) in ("a", "the"))

    def _near(self, i: int, offset: int) -> str:
        return self.words[i + offset] if 0 <= i + offset < len(self.words) else ""

    def _is_place(self, i: int) -> bool:
        """Whether a word like `left` says where something is, not which way it goes."""
        before = [self._near(i, -1), self._near(i, -2) if self._near(i, -1) == "the" else ""]
        return (
            self.words[i] in vocabulary.ROWS
            or self.words[i] in ("centre", "center")
            or any(word in vocabulary.PLACING or word in vocabulary.ROWS for word in before)
            or (self.words[i] == "corner" and self._near(i, -1) in vocabulary.COLUMNS)
        )

    def _note(self, attribute: str, value: str, word: str) -> None:
        text = f"{attribute}: {value}" + ("" if word == value else f" ({word})")
        if text not in self.understood:
            self.understood.append(text)

    def _ignore(self, word: str) -> None:
        word = word[:_MAX_WORD]
        if word not in self.ignored and len(self.ignored) < _MAX_IGNORED:
            self.ignored.append(word)
