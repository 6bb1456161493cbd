"""Every command that a page shows is one that the program takes: `longtake`, `make`, `grpcurl`, `python -m`, `pip`."""

from __future__ import annotations

import importlib.util
import re
import tomllib
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import typer
from google.protobuf import descriptor_pool, json_format, message_factory
from typer.core import TyperGroup

from serving.cli.main import build
from serving.gen.longtake.v1 import files_pb2, jobs_pb2, models_pb2, videos_pb2  # noqa: F401  (into the pool)
from serving.settings import load_settings
from tests.pages.markdown import ROOT
from tests.pages.shell import Command, command, commands, split

COMMANDS = list(commands())


def parse(words: Sequence[str]) -> None:
    """Read words as `longtake` does, down to the command that they name, and run nothing. Raises what it raises."""
    at, name, rest = typer.main.get_command(build()), "longtake", list(words)
    context = None
    while True:
        context = at.make_context(name, rest, parent=context)
        if not isinstance(at, TyperGroup):
            return
        rest = [*context._protected_args, *context.args]
        _, found, rest = at.resolve_command(context, rest)
        assert found is not None
        at, name = found, found.name or ""


def check_longtake(asked: Command) -> None:
    """Raises `AssertionError` with what the command line says."""
    words = [word for word in asked.words[1:] if not (asked.inline and word == "--help")]
    try:
        parse(words)
    except typer.Exit:  # `--help`, `--version`
        return
    except Exception as error:
        kind, message = type(error).__name__, getattr(error, "message", "") or str(error)
        if asked.inline and kind in {"MissingParameter", "NoArgsIsHelpError"}:
            return
        raise AssertionError(f"{asked}: {kind}: {message}") from error


def check_grpcurl(asked: Command) -> None:
    """Its method exists, and `-d` is the method's request."""
    rest, data = [], ""
    words = iter(asked.words[1:])
    for word in words:
        if word in {"-d", "-H", "-cacert"}:
            value = next(words)
            data = value if word == "-d" else data
        elif not word.startswith("-"):
            rest.append(word)
    assert len(rest) == 2, f"{asked}: an address and a method"
    if rest[1] in {"list", "describe"}:
        return
    service, _, method = rest[1].rpartition("/")
    found = descriptor_pool.Default().FindServiceByName(service).FindMethodByName(method)
    json_format.Parse(data or "{}", message_factory.GetMessageClass(found.input_type)())


def check_make(asked: Command) -> None:
    """Its targets and variables are the Makefile's."""
    makefile = (ROOT / "Makefile").read_text()
    for word in asked.words[1:]:
        name, assigned, _ = word.partition("=")
        known = rf"\$\(or \$\({name}\)|^{name} \?=" if assigned else rf"^{name}:"
        assert re.search(known, makefile, re.MULTILINE), f"{asked}: the Makefile knows no {name}"


def check_python(asked: Command) -> None:
    """`-m` names a module that there is; else the file that it runs is there."""
    words = list(asked.words[1:])
    if words[0] == "-m":
        assert importlib.util.find_spec(words[1]) is not None, f"{asked}: no module {words[1]}"
    else:
        assert (ROOT / words[0]).is_file(), f"{asked}: no file {words[0]}"


def check_pip(asked: Command) -> None:
    """The extras of `longtake[...]` are there."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for named in re.findall(r"longtake\[(\w+)\]", " ".join(asked.words)):
        assert named in extras, f"{asked}: no extra {named}"


CHECKS = {
    "longtake": check_longtake,
    "grpcurl": check_grpcurl,
    "make": check_make,
    "python": check_python,
    "python3": check_python,
    "pip": check_pip,
}


@pytest.mark.parametrize("asked", [found for found in COMMANDS if found.program in CHECKS], ids=str)
def test_its_program_takes_it(asked: Command) -> None:
    CHECKS[asked.program](asked)


@pytest.mark.parametrize("asked", [found for found in COMMANDS if found.environment], ids=str)
def test_settings_before_a_command_are_taken(asked: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in asked.environment:
        monkeypatch.setenv(name, value)
    load_settings()


def examples_in_help() -> Iterator[tuple[str, list[str]]]:
    """The examples that `longtake COMMAND --help` shows, by command."""

    def walk(at: Any, path: str) -> Iterator[tuple[str, list[str]]]:
        for line in (at.help or "").splitlines():
            if line.strip().startswith("longtake "):
                yield from ((path, words) for words in split(line.strip()))
        for name, inner in getattr(at, "commands", {}).items():
            yield from walk(inner, f"{path} {name}")

    yield from walk(typer.main.get_command(build()), "longtake")


@pytest.mark.parametrize(("path", "words"), list(examples_in_help()), ids=str)
def test_the_examples_of_help_are_taken(path: str, words: list[str]) -> None:
    check_longtake(command(f"{path} --help", words))


def test_the_pages_have_commands_of_each_kind() -> None:
    assert {"longtake", "make", "grpcurl", "python"} <= {found.program for found in COMMANDS}
    assert len(list(examples_in_help())) > 5


@pytest.mark.parametrize(
    "line",
    ["longtake generat x", "longtake ls --nosuch", "longtake generate x -d long", "longtake extend", "longtake jobs"],
)
def test_a_command_that_is_wrong_is_found(line: str) -> None:
    with pytest.raises(AssertionError, match="planted"):
        check_longtake(command("planted", split(line)[0]))


@pytest.mark.parametrize(
    "line",
    [
        "grpcurl -plaintext h:1 longtake.v1.Videos/NoSuch",
        """grpcurl -plaintext -d '{"nosuch": 1}' h:1 longtake.v1.Videos/GetVideo""",
    ],
)
def test_a_call_that_is_wrong_is_found(line: str) -> None:
    with pytest.raises((KeyError, json_format.ParseError)):
        check_grpcurl(command("planted", split(line)[0]))


@pytest.mark.parametrize("line", ["make nosuch", "make kills NOSUCH=1"])
def test_a_target_that_is_not_there_is_found(line: str) -> None:
    with pytest.raises(AssertionError, match="the Makefile knows no"):
        check_make(command("planted", split(line)[0]))


def test_a_line_is_split_as_a_shell_does() -> None:
    line = "A='{\"b\": 1}' longtake ls; longtake lineage vid_... | head > out.txt  # it's a comment; not a command"
    first, second, third = (command("here", words) for words in split(line))
    assert (first.environment, first.words) == ((("A", '{"b": 1}'),), ("longtake", "ls"))
    assert (second.words, third.words) == (("longtake", "lineage", "vid_..."), ("head",))
