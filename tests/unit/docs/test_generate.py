"""docs/settings.md says what the settings say, and `make lint` fails where it does not."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import BaseModel, Field

from docs.generate import MARK, page
from serving.settings import Settings

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "settings.md"


class Pool(BaseModel):
    """A group for tests."""

    size: int = Field(default=3, ge=1, le=9)
    """Members | of the pool."""
    name: str | None = Field(default=None, examples=["blue"])
    """What it is called."""


class Some(BaseModel):
    """Settings for tests."""

    mode: str = "fast"
    """How."""
    pool: Pool = Pool()


class Mute(BaseModel):
    """A setting without a word."""

    silent: bool = False
    loud: bool = True
    """It speaks."""


def generate(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "docs/generate.py", *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)


def test_the_page_is_current() -> None:
    assert generate("--check").returncode == 0


def test_a_page_that_says_something_else_is_found_and_mended(tmp_path: Path) -> None:
    stale = Path(shutil.copy(PAGE, tmp_path / "settings.md"))
    text = PAGE.read_text()
    assert "| `4` | a whole number, 1 or more |" in text
    stale.write_text(text.replace("| `4` | a whole number, 1 or more |", "| `5` | a whole number, 1 or more |"))
    checked = generate("--check", "--page", str(stale))
    assert checked.returncode == 1
    assert "run `make docs`" in checked.stderr

    assert generate("--page", str(stale)).returncode == 0
    assert stale.read_text() == text


def test_what_is_written_by_hand_is_kept() -> None:
    assert page(Some, f"# Mine\n\n{MARK}\n\nold tables\n").startswith(f"# Mine\n\n{MARK}\n\n## At the top\n")


def test_a_page_without_the_mark_is_refused() -> None:
    with pytest.raises(ValueError, match="the page has no line"):
        page(Some, "# Mine\n")


def test_a_setting_stands_there_with_its_variable_default_bounds_text_and_example() -> None:
    made = page(Some, MARK)
    assert "| `pool.size`<br>`LONGTAKE_POOL__SIZE` | `3` | a whole number, 1 to 9 | Members \\| of the pool. |" in made
    assert "| `pool.name`<br>`LONGTAKE_POOL__NAME` | none | text | What it is called. |" in made
    assert '```toml\n[pool]\nsize = 3\nname = "blue"\n```' in made


def test_a_setting_without_a_word_is_refused() -> None:
    with pytest.raises(ValueError, match="setting `silent` says nothing"):
        page(Mute, MARK)


def test_every_setting_of_longtake_stands_there() -> None:
    groups = {name: getattr(field.annotation, "model_fields", {}) for name, field in Settings.model_fields.items()}
    names = [f"{group}.{name}" for group, fields in groups.items() for name in fields]
    assert len(names) > 20
    assert [name for name in names if f"| `{name}`<br>" not in PAGE.read_text()] == []
