"""Every prompt that is shown as an example, in a page or by `--help`, is one that the model that ships understands."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest

from engines.families.sprite.captions import parse
from tests.pages.markdown import ROOT, blocks, pages
from tests.pages.shell import commands

_MADE = ("generate", "image", "extend")
_IN_PYTHON = re.compile(r"(?:prompt=|create_request\()\"([^\"]+)\"")
_IN_HELP = re.compile(rf"longtake (?:{'|'.join(_MADE)})\b[^\n]*?\"([^\"\n]+)\"")


def examples() -> Iterator[str]:
    """All of them."""
    for asked in commands():
        if asked.program == "longtake" and len(asked.words) > 1 and asked.words[1] in _MADE:
            yield from (word for word in asked.words[2:] if " " in word)
        if asked.program == "grpcurl" and "-d" in asked.words:
            yield json.loads(asked.words[asked.words.index("-d") + 1]).get("prompt", "")
    for block in blocks("python"):
        yield from _IN_PYTHON.findall(block.text)
    for file in [*(ROOT / "serving").rglob("*.py"), *(ROOT / "helm").rglob("*.txt"), *(ROOT / "helm").rglob("*.yaml")]:
        text = file.read_text()
        yield from _IN_HELP.findall(text)
        yield from _IN_PYTHON.findall(text) if file.is_relative_to(ROOT / "serving" / "client") else ()
    (grammar,) = (page.text.partition("## What a prompt says")[2] for page in pages() if page.path.name == "sprite.md")
    yield from (line.strip() for line in grammar.split("\n\n")[1].splitlines())


@pytest.mark.parametrize("prompt", sorted(set(examples()) - {""}))
def test_every_word_is_understood(prompt: str) -> None:
    assert parse(prompt).ignored == ()


def test_there_are_examples() -> None:
    assert len(set(examples())) > 15
