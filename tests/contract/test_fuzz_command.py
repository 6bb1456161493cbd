"""Whatever is written after `longtake`: it is done, or it ends with one line and a code that says whose fault it is.

The command runs in this process, against a real front door. What it lets out but for its end is a fault of its own.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.cli import main as cli
from tests.contract.door_apart import door_apart
from tests.contract.fuzzing import EXAMPLES, FUZZED, WORDS

CODES = (0, 1, 2, 3, 4, 6)
NUMBERS = ("0", "1", "-1", "3", "1e3", "²", "٣", "9" * 30, "9" * 5000, "1.5", "nan", "")
TIMES = ("1s", "5m", "1000000d", "²s", "-1s", "9" * 400 + "d", "s", ".s")
PATHS = (
    "there.png",
    "it's.png",
    "nowhere.png",
    "folder",
    "folder/",
    "/proc/x/y",
    "a" * 300,
    "~nobody/x",
    "b\udcfcld.png",
)
GIVEN = {
    "--seconds": NUMBERS,
    "--seed": NUMBERS,
    "--steps": NUMBERS,
    "--priority": NUMBERS,
    "--deadline": TIMES,
    "--ttl": TIMES,
    "--aspect": WORDS,
    "--resolution": WORDS,
    "--codec": WORDS,
    "--model": WORDS,
    "--reference": (*PATHS, *WORDS),
    "--first-frame": (*PATHS, *WORDS),
    "--output": ("text", "json", "xml", ""),
}
IMAGES = (
    "--resolution",
    "--model",
    "--seed",
    "--deadline",
    "--priority",
    "--ttl",
    "--reference",
    "--output",
    "--aspect",
)
OPTIONS: dict[tuple[str, ...], dict[str, tuple[str, ...]]] = {
    ("generate",): GIVEN,
    ("image",): {**{name: GIVEN[name] for name in IMAGES}, "--count": NUMBERS},
    ("extend",): {
        "--segment": WORDS,
        **{name: GIVEN[name] for name in ("--seconds", "--seed", "--deadline", "--ttl", "--priority")},
    },
}
ASKING: dict[tuple[str, ...], dict[str, tuple[str, ...]]] = {
    ("status",): {"--output": GIVEN["--output"]},
    ("lineage",): {"--segment": NUMBERS, "--html": PATHS, "--output": GIVEN["--output"]},
    ("watch",): {"--preview": PATHS, "--output": GIVEN["--output"]},
    ("cancel",): {},
    ("delete",): {},
    ("download",): {},
    ("ls",): {"--limit": NUMBERS, "--output": GIVEN["--output"]},
    ("jobs", "ls"): {"--output": GIVEN["--output"]},
    ("jobs", "explain"): {"--html": PATHS},
    ("jobs", "requeue"): {"--since": TIMES, "--code": WORDS, "--stage": WORDS, "--limit": NUMBERS},
    ("models", "show"): {"--output": GIVEN["--output"]},
    ("keys", "add"): {"--tenant": WORDS, "--file": PATHS},
    ("keys", "ls"): {"--file": PATHS},
    ("keys", "rm"): {"--file": PATHS},
}


def lines() -> st.SearchStrategy[list[str]]:
    """Command lines. What makes something is only planned."""
    made = [_line(words, options, ("--plan",)) for words, options in OPTIONS.items()]
    return st.one_of(made + [_line(words, options, ()) for words, options in ASKING.items()])


def _line(
    words: tuple[str, ...], options: dict[str, tuple[str, ...]], always: tuple[str, ...]
) -> st.SearchStrategy[list[str]]:
    # Bytes that are not UTF-8 come to a program as surrogates; none of its arguments holds a zero byte.
    text = st.sampled_from((*WORDS, *PATHS)) | st.text(st.characters(exclude_categories=()), max_size=12)
    argument = text.map(lambda given: given.replace("\0", "").encode(errors="replace").decode()) | st.sampled_from(
        PATHS
    )
    said = st.sampled_from(sorted(options) or ["--nothing"]).flatmap(
        lambda name: st.tuples(st.just(name), st.sampled_from(options.get(name, ("",))) | argument)
    )
    return st.builds(
        lambda arguments, given: [
            *words, *always, *(part.replace("\0", "") for pair in given for part in pair), "--", *arguments,
        ],
        st.lists(argument, max_size=2),
        st.lists(said, max_size=3),
    )  # fmt: skip


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A front door, and a folder with some files to stand in."""
    folder = tmp_path_factory.mktemp("door")
    here = folder / "here"
    (here / "folder").mkdir(parents=True)
    for name in ("there.png", "it's.png", "b\udcfcld.png"):
        (here / name).write_bytes(b"\x89PNG\r\n\x1a\n")
    before = Path.cwd()
    os.chdir(here)
    try:
        with door_apart(folder) as address:
            assert run(["ls"], address) == (0, "")
            yield address
    finally:
        os.chdir(before)


@settings(FUZZED, max_examples=EXAMPLES // 2)
@given(line=lines())
def test_any_command_line_is_done_or_ends_with_one_line(server: str, line: list[str]) -> None:
    code, said = run(line, server)
    assert code in CODES
    assert "Traceback" not in said
    if code in (2, 3, 4, 6):
        assert said.strip()


def run(line: list[str], server: str) -> tuple[object, str]:
    """The exit code, and what was said on stderr."""
    err = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="backslashreplace")  # as Python's own
    out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    environment = {"LONGTAKE_SERVER": server, "COLUMNS": "80"}
    with (
        mock.patch.object(sys, "argv", ["longtake", *line]),
        mock.patch.dict(os.environ, environment),
        redirect_stdout(out),
        redirect_stderr(err),
        pytest.raises(SystemExit) as ended,
    ):
        cli.main()
    err.seek(0)
    return ended.value.code or 0, err.read()
