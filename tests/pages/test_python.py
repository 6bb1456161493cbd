"""The Python of each page runs, from its first block to its last, against a real front door.

A block of Python that is no program of its own (a sketch, a piece of a file) is to be marked `text`. A page that has a
test of its own in tests/unit/docs is run there. Examples in docstrings (`>>>`) run too; those of the client have a test
of their own, for they need a server.
"""

from __future__ import annotations

import doctest
import importlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.fake_director import MODEL
from tests.contract.sample_media import CAT, FILM
from tests.contract.threaded_door import ThreadedDoor
from tests.pages.markdown import ROOT, Block, Page, pages

INPUTS = {"logo.png": CAT, "start.png": CAT, "cat.png": CAT, "film.mp4": FILM}
"""Files that the examples may read."""
CLIENT = "serving.client"


def with_python() -> list[Page]:
    """Pages whose Python is run here."""
    own = ROOT / "tests" / "unit" / "docs"
    return [
        page
        for page in pages()
        if any(block.language == "python" for block in page.blocks)
        and not (own / f"test_{page.path.stem.replace('-', '_')}.py").exists()
    ]


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A front door whose jobs are finished."""
    with ThreadedDoor(tmp_path_factory.mktemp("door")) as door:
        yield door.grpc_address


def program(blocks: list[Block], address: str) -> str:
    """The blocks as one file, each on the lines where the page has it, asking this front door and its model."""
    lines: list[str] = []
    for block in blocks:
        lines += [""] * (block.line - 1 - len(lines)) + block.text.splitlines()
    port = address.rpartition(":")[2]
    here = {"localhost:50051": f"localhost:{port}", "127.0.0.1:50051": address, "sprite-2": MODEL.model}
    text = "\n".join(lines) + "\n"
    for there, name in here.items():
        text = text.replace(there, name)
    return text


def run(text: str, folder: Path, name: str) -> subprocess.CompletedProcess[str]:
    """Run a program in a folder with the inputs."""
    for file, data in INPUTS.items():
        (folder / file).write_bytes(data)
    (folder / name).write_text(text)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HOME": str(folder)}
    return subprocess.run(
        [sys.executable, name], cwd=folder, env=environment, capture_output=True, text=True, timeout=240
    )


@pytest.mark.parametrize("page", with_python(), ids=str)
def test_it_runs(page: Page, address: str, tmp_path: Path) -> None:
    blocks = [block for block in page.blocks if block.language == "python"]
    done = run(program(blocks, address), tmp_path, f"{page.path.stem}.py")
    assert done.returncode == 0, f"{page}, run from its first Python block on (a sketch is `text`):\n{done.stderr}"


def test_an_example_that_fails_is_found_on_its_line(address: str, tmp_path: Path) -> None:
    first = Block("page", "python", "import serving.client\n", 3)
    second = Block("page", "python", "\nserving.client.no_such()\n", 9)
    done = run(program([first, second], address), tmp_path, "page.py")
    assert done.returncode == 1
    assert 'page.py", line 10' in done.stderr


def test_there_is_python_to_run() -> None:
    assert "README.md" in [str(page) for page in with_python()]


def modules_with_examples() -> list[str]:
    """Modules with a `>>>` in them, the client's apart."""
    files = [file for room in ("serving", "engines", "loadtests") for file in (ROOT / room).rglob("*.py")]
    found = [file.relative_to(ROOT).with_suffix("") for file in files if ">>> " in file.read_text()]
    names = sorted(".".join(file.parts).removesuffix(".__init__") for file in found)
    return [name for name in names if name != CLIENT and not name.startswith(f"{CLIENT}.")]


def test_examples_in_docstrings_run() -> None:
    results = {name: doctest.testmod(importlib.import_module(name)) for name in modules_with_examples()}
    assert [name for name, result in results.items() if result.failed or not result.attempted] == []
