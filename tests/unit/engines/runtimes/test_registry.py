"""Runtimes are found by name, and nothing of theirs is imported before."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from engines.errors import EngineError
from engines.runtimes.base import Runtime
from engines.runtimes.registry import PLACES, SHIPPED, Runtimes

ROOT = Path(__file__).parents[4]


def test_every_line_of_the_registry_is_a_runtime_of_that_name() -> None:
    for name in PLACES:
        found = SHIPPED.find(name)
        assert isinstance(found, Runtime)
        assert found.name == name
        assert found is SHIPPED.find(name)


def test_the_first_one_is_the_default() -> None:
    assert SHIPPED.default().name == "onnxruntime"


def test_an_unknown_runtime_names_those_that_are_there() -> None:
    with pytest.raises(EngineError, match="'abacus' is not known; there is first, second"):
        Runtimes({"first": "nowhere:First", "second": "nowhere:Second"}).find("abacus")


def test_finding_a_runtime_imports_none() -> None:
    code = (
        "import sys; from engines.runtimes.registry import SHIPPED; [SHIPPED.find(name) for name in SHIPPED.names]; "
        "print(sorted({'onnxruntime', 'onnx', 'torch'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
