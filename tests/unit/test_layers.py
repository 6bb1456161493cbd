"""The import contracts of pyproject.toml hold what they promise: each forbidden import is planted once, and seen.

The plants are drawn from the contracts themselves, so a new contract is tested from its first day, and some more stand
here by name. They are made in new files where a room can have one: a contract that lists the files of today says
nothing of those of tomorrow. Those by name are files in a copy of the tree. Those that are drawn are in the linter's
graph alone: it would read the tree some hundred times.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("loadtests", "operators", "serving", "engines")
CONTRACTS: list[dict[str, Any]] = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"][
    "contracts"
]


@dataclass(frozen=True)
class Plant:
    """A line that does not belong where it is put."""

    contract: str
    room: str
    """Dotted name of a package, which gets a new file, or of a module, which gets one more line."""
    imported: str

    def __str__(self) -> str:
        return f"{self.contract}: {self.room} -> {self.imported}"


BY_NAME = (
    Plant("ray", "serving.plan", "ray"),
    Plant("ray", "serving.local.embedded", "ray"),
    Plant("minio", "serving.plan", "minio"),
    Plant("onnxruntime", "serving.plan", "onnxruntime"),
    Plant("serving", "serving.director.queue.order", "serving.frontdoor.videos"),
    Plant("serving", "serving.paging", "serving.director.director"),
    Plant("serving", "serving.store.blobs", "serving.frontdoor.server"),
    Plant("families", "engines.families.planted", "engines.families.sprite.family"),
    Plant("families", "engines.families.base", "engines.families.sprite.family"),
    Plant("runtimes", "engines.runtimes", "engines.runtimes.torch"),
    Plant("runtimes", "engines.runtimes.torch", "engines.runtimes.onnxruntime"),
)
"""Imports that earlier contracts let pass, and rooms of their own for families and runtimes to come."""


ONE_OF = {
    "engines.families.*.*": "engines.families.sprite.family",
    "engines.runtimes.*": "engines.runtimes.onnxruntime",
}
"""What is planted for a pattern."""


def plants() -> Iterator[Plant]:
    """One for each thing that a contract forbids."""
    for contract in CONTRACTS:
        match contract["type"]:
            case "layers":
                yield from _upwards(contract)
            case "independence":
                yield from _sideways(contract)
            case "forbidden":
                for room, name in itertools.product(contract["source_modules"], contract["forbidden_modules"]):
                    yield Plant(contract["id"], room, ONE_OF.get(name, name))


def _upwards(contract: dict[str, Any]) -> Iterator[Plant]:
    """From each layer to the next higher one, and between those that stand side by side."""
    for container in contract.get("containers", [""]):
        layers = [
            [f"{container}.{name.strip()}".lstrip(".") for name in layer.split("|")] for layer in contract["layers"]
        ]
        for upper, lower in itertools.pairwise(layers):
            yield Plant(contract["id"], lower[0], upper[0])
        for layer in layers:
            for one, other in itertools.permutations(layer, 2):
                yield Plant(contract["id"], one, other)


def _sideways(contract: dict[str, Any]) -> Iterator[Plant]:
    for pattern in contract["modules"]:
        parent = pattern.removesuffix(".*")
        names = sorted(path.parent.name for path in (ROOT / parent.replace(".", "/")).glob("*/__init__.py"))
        for one, other in itertools.permutations(names, 2):
            yield Plant(contract["id"], f"{parent}.{one}", f"{parent}.{other}")


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the code and of the contracts."""
    copy = tmp_path_factory.mktemp("tree")
    shutil.copy(ROOT / "pyproject.toml", copy)
    for package in PACKAGES:
        shutil.copytree(
            ROOT / package,
            copy / package,
            ignore=lambda _, names: [n for n in names if re.search(r"\.\w+$(?<!\.py)", n)],
        )
    return copy


PROGRAM = """
import contextlib, copy, io, json, sys
from importlinter.adapters.building import GraphBuilder
from importlinter.application.app_config import settings
from importlinter.cli import lint_imports

class Planting(GraphBuilder):
    module, imported, graph = "", "", None

    def build(self, root_package_names, **options):
        if not self.module:
            return super().build(root_package_names, **options)
        self.graph = self.graph or super().build(root_package_names, **options)
        graph = copy.deepcopy(self.graph)
        if self.imported not in graph.modules:
            graph.add_module(self.imported, is_squashed=self.imported.split(".")[0] not in root_package_names)
        graph.add_import(importer=self.module, imported=self.imported)
        return graph

builder = Planting()
settings.GRAPH_BUILDER = builder
for line in sys.stdin:
    contract, builder.module, builder.imported = json.loads(line)
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        lint_imports(limit_to_contracts=(contract,), no_logo=True)
    print(json.dumps(said.getvalue()), flush=True)
"""
"""The tool that `make lint` runs, asked again and again: its own start would take most of the time. It reads the tree
anew for each question, but for those about a module with an import that is in no file: for these it reads it once."""


@dataclass(frozen=True)
class Linter:
    """Whether a contract is broken. Any other failure of the tool raises."""

    questions: IO[str]
    answers: IO[str]

    def broken(self, contract: str, module: str = "", imported: str = "") -> bool:
        """In the tree as it is now; or as it was at first, if this module imported that one."""
        self.questions.write(json.dumps([contract, module, imported]) + "\n")
        self.questions.flush()
        said = json.loads(self.answers.readline() or '"it ended"')
        found = re.search(r"Contracts: (\d) kept, (\d) broken", said)
        assert found, said
        return found[2] == "1"


@pytest.fixture(scope="module")
def linter(tree: Path) -> Iterator[Linter]:
    environment = {**os.environ, "PYTHONPATH": str(tree)}
    command = [sys.executable, "-c", PROGRAM]
    with subprocess.Popen(
        command, cwd=tree, env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as tool:
        assert tool.stdin is not None
        assert tool.stdout is not None
        yield Linter(tool.stdin, tool.stdout)
        tool.stdin.close()


@pytest.mark.parametrize("contract", [contract["id"] for contract in CONTRACTS])
def test_the_tree_as_it_is_keeps_the_contract(linter: Linter, contract: str) -> None:
    assert not linter.broken(contract)


@pytest.mark.parametrize("plant", list(plants()), ids=str)
def test_an_import_that_it_forbids_breaks_its_contract(tree: Path, linter: Linter, plant: Plant) -> None:
    room = plant.room + ".planted" if (tree / plant.room.replace(".", "/")).is_dir() else plant.room
    assert linter.broken(plant.contract, room, plant.imported)


@pytest.mark.parametrize(
    ("contract", "module", "imported"),
    [("serving", "serving.plan", "serving.errors"), ("ray", "serving.deployments.planted", "ray")],
)
def test_an_import_that_it_allows_breaks_nothing(linter: Linter, contract: str, module: str, imported: str) -> None:
    assert not linter.broken(contract, module, imported)


@pytest.mark.parametrize("plant", BY_NAME, ids=str)
def test_a_planted_import_breaks_its_contract(tree: Path, linter: Linter, plant: Plant) -> None:
    place = tree / plant.room.replace(".", "/")
    place = place / "planted.py" if place.is_dir() else place.with_suffix(".py")
    before = place.read_text() if place.exists() else None
    place.write_text(f"{before or ''}\nimport {plant.imported}\n")
    try:
        assert linter.broken(plant.contract)
    finally:
        place.unlink() if before is None else place.write_text(before)


@pytest.mark.parametrize(
    "contract", [contract for contract in CONTRACTS if contract.get("exhaustive")], ids=lambda c: c["id"]
)
def test_a_file_without_a_place_among_the_layers_breaks_the_contract(
    tree: Path, linter: Linter, contract: dict[str, Any]
) -> None:
    for container in contract["containers"]:
        new = tree / container.replace(".", "/") / "planted.py"
        new.touch()
        try:
            assert linter.broken(contract["id"])
        finally:
            new.unlink()


@pytest.mark.parametrize(
    ("contract", "room", "line"),
    [
        ("seams", "serving/plan.py", "import engines.families.paint.family"),
        ("seams", "engines/session.py", "from engines.families.paint import family"),
        ("families", "engines/families/sprite/captions.py", "from engines.families.paint import family"),
        ("families", "engines/families/paint/family.py", "import engines.families.sprite.world"),
        ("families", "engines/families/base.py", "import engines.families.paint.family"),
    ],
)
def test_a_family_that_is_new_is_bound_too(tree: Path, linter: Linter, contract: str, room: str, line: str) -> None:
    paint, place = tree / "engines/families/paint", tree / room
    paint.mkdir()
    (paint / "__init__.py").touch()
    (paint / "family.py").touch()
    before = place.read_text()
    place.write_text(f"{before}\n{line}\n")
    try:
        assert linter.broken(contract)
    finally:
        place.write_text(before)
        shutil.rmtree(paint)
