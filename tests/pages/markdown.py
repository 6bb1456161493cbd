"""What a page of Markdown holds that can be checked: fenced blocks, inline code, links and headings.

The tests beside this file read README.md and docs/ with it. It knows the part of Markdown that those pages use.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).parents[2]
_FENCE = re.compile(r"^ *(```+) *(\w*)[^\n]*\n(.*?)^ *\1\s*$", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"(`+)(.+?)\1", re.DOTALL)
_LINK = re.compile(r"(?<!\\)\[(?:[^\[\]]|\[[^\]]*\])*\]\(([^()\s]+)\)")
_HEADING = re.compile(r"^#{1,6} +(.+?) *#*$", re.MULTILINE)
_ANCHOR = re.compile(r"<a (?:id|name)=\"([^\"]+)\"")


@dataclass(frozen=True)
class Block:
    """A fenced block."""

    page: str
    language: str
    text: str
    line: int
    """Of the page, where the text begins; from 1."""

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


@dataclass(frozen=True)
class Page:
    """One page of the repository."""

    path: Path

    def __str__(self) -> str:
        return str(self.path.relative_to(ROOT)) if self.path.is_relative_to(ROOT) else self.path.name

    @cached_property
    def text(self) -> str:
        """All of it."""
        return self.path.read_text()

    @cached_property
    def blocks(self) -> list[Block]:
        """Its fenced blocks, in order."""
        return [
            Block(str(self), found[2], found[3], self.text.count("\n", 0, found.start(3)) + 1)
            for found in _FENCE.finditer(self.text)
        ]

    @cached_property
    def prose(self) -> str:
        """The text without its fenced blocks."""
        return _FENCE.sub("", self.text)

    @cached_property
    def spans(self) -> list[str]:
        """Inline code, each on one line."""
        return [" ".join(found[2].split()) for found in _SPAN.finditer(self.prose)]

    @cached_property
    def links(self) -> list[str]:
        """Where its links and pictures lead."""
        return _LINK.findall(_SPAN.sub("code", self.prose))

    @cached_property
    def anchors(self) -> set[str]:
        """What a link may name after `#`: its headings, as GitHub spells them, and anchors in HTML."""
        names: dict[str, int] = {}
        found = set(_ANCHOR.findall(self.prose))
        for heading in _HEADING.findall(self.prose):
            name = slug(heading)
            found.add(name if name not in names else f"{name}-{names[name]}")
            names[name] = names.get(name, 0) + 1
        return found


def slug(heading: str) -> str:
    """A heading as an anchor: lower case, spaces to hyphens, no punctuation; of links their text."""
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
    return re.sub(r"[^\w\- ]", "", text).replace(" ", "-")


def pages() -> list[Page]:
    """README.md and the pages of docs/."""
    return [Page(ROOT / "README.md"), *(Page(path) for path in sorted((ROOT / "docs").glob("*.md")))]


def blocks(*languages: str) -> list[Block]:
    """The blocks of these languages in all pages; "" stands for none."""
    return [block for page in pages() for block in page.blocks if block.language in languages]
