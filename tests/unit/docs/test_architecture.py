"""The page of the architecture tells the layers that the linter holds."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
LAYERS = {found["id"]: found["layers"] for found in CONTRACTS if "containers" in found}


@pytest.mark.parametrize("contract", LAYERS)
def test_the_page_lists_the_layers_as_the_contract_has_them(contract: str) -> None:
    page = (ROOT / "docs" / "architecture.md").read_text()
    listed = [block.splitlines() for block in re.findall(r"^```\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)]
    assert LAYERS[contract] in listed, (
        f"docs/architecture.md: list the layers of the contract {contract!r} as pyproject.toml does"
    )
