"""What `docs/add-a-model.md` says works: its code is run as it stands there, in a package of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "add-a-model.md"


@pytest.fixture(scope="module")
def blocks() -> list[str]:
    return re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def output(blocks: list[str], tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What the page's program prints. Blocks that begin with the name of a file are that file."""
    pytest.importorskip("torch", reason="a build needs longtake[build]")
    folder, program = tmp_path_factory.mktemp("page"), []
    for block in blocks:
        named = re.match(r"# (example/\S+)\n", block)
        if named is None:
            program.append(block)
            continue
        path = folder / named[1]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(block)
    result = subprocess.run(
        [sys.executable, "-c", "\n".join(program)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.splitlines()


def test_the_page_has_a_family_and_a_runtime(blocks: list[str]) -> None:
    text = "\n".join(blocks)
    assert "class PaintFamily:" in text
    assert "class Numbers(Runtime):" in text


def test_the_engines_of_a_new_family_are_built_by_a_new_runtime_and_published(output: list[str]) -> None:
    names = [f"{name}.numbers" for name in ("decoder", "denoiser", "encoder", "text_encoder")]
    assert f"published {sorted([*names, 'manifest.json'])}" in output


def test_they_load_and_make_a_video_that_shows_what_was_asked_for(output: list[str]) -> None:
    [line] = [line for line in output if line.startswith("frames")]
    count, colour = re.fullmatch(r"frames (\d+) mean colour \[(.*)\]", line).groups()  # type: ignore[union-attr]
    red, green, blue = (int(value) for value in colour.split(","))
    assert int(count) == 2 * 2 * 2
    assert red > 200
    assert max(green, blue) < 50


def test_they_answer_as_torch_did(output: list[str]) -> None:
    assert "verified []" in output
