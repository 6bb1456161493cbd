"""Shell lines of the pages, split into commands. Only as much of a shell as the pages use."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass

from tests.pages.markdown import blocks, pages

SHELL = ("", "sh", "bash", "shell", "console")
"""Languages of blocks that hold commands."""
_SET = re.compile(r"^([A-Z_][A-Z_0-9]*)=(.*)$", re.DOTALL)
_ENDS = frozenset({";", "&&", "||", "|", "&"})


@dataclass(frozen=True)
class Command:
    """One command as it stands in a page."""

    where: str
    words: tuple[str, ...]
    environment: tuple[tuple[str, str], ...] = ()
    inline: bool = False
    """In the middle of a sentence, where what a command needs may be left out."""

    def __str__(self) -> str:
        return f"{self.where} {shlex.join(self.words)}"

    @property
    def program(self) -> str:
        """What it runs, without its folder."""
        return self.words[0].rpartition("/")[2] if self.words else ""


def split(line: str) -> list[list[str]]:
    """A line's commands, each as words; comments and redirections are left out. Raises `ValueError`."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=";&|<>")
    lexer.whitespace_split = True
    found: list[list[str]] = [[]]
    words = iter(lexer)
    for word in words:
        if word in _ENDS:
            found.append([])
        elif word in {"<", ">", ">>"}:
            next(words, None)
        else:
            found[-1].append(word)
    return [command for command in found if command]


def command(where: str, words: list[str], *, inline: bool = False) -> Command:
    """Words with what is set before them apart; `export A=b` sets too."""
    rest = words[1:] if words[0] == "export" else list(words)
    environment = []
    while rest and (setting := _SET.match(rest[0])):
        environment.append((setting[1], setting[2]))
        rest.pop(0)
    return Command(where, tuple(rest), tuple(environment), inline=inline)


def commands() -> Iterator[Command]:
    """All commands of the pages: those of their shell blocks, and inline ones that start with a program of ours."""
    for block in blocks(*SHELL):
        text = block.text.replace("\\\n", " ")
        for number, line in enumerate(text.splitlines(), block.line):
            if _is_command(line):
                where = f"{block.page}:{number}"
                yield from (command(where, words) for words in split(line.removeprefix("$ ")))
    for page in pages():
        for span in page.spans:
            if (
                re.match(r"([A-Z_]+=\S+ )*([\w./-]*/)?(longtake|make|grpcurl|python3?) ", span)
                and "..." not in span.split()
            ):
                yield from (command(str(page), words, inline=True) for words in split(span))


def _is_command(line: str) -> bool:
    """Blocks without a language also hold tables and pictures: a command begins with a program, or with a setting."""
    return re.match(r"(\$ )?([A-Z_]+=|[\w./-]*(longtake|make|grpcurl|python3?|pip|export|curl)\b)", line) is not None
