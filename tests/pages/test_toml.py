"""Every TOML block of the pages is a settings file that Longtake takes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from serving.errors import SettingsError
from serving.settings import Settings, load_settings
from tests.pages.markdown import Block, blocks

_FILE = re.compile(r"\"([^\"\s:]+\.(?:jsonl|pem))\"")


def load(text: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Read it as `longtake up --config` does. Files that it names are put into `folder`, for they must exist."""
    for name in _FILE.findall(text):
        (folder / Path(name).name).touch()
    (folder / "longtake.toml").write_text(_FILE.sub(lambda found: f'"{folder / Path(found[1]).name}"', text))
    monkeypatch.setenv("LONGTAKE_CONFIG", str(folder / "longtake.toml"))
    return load_settings()


@pytest.mark.parametrize("block", blocks("toml"), ids=str)
def test_it_loads(block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert load(block.text, tmp_path, monkeypatch).model_fields_set, "it sets nothing"


def test_one_that_is_wrong_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsError, match="admission"):
        load("[admission]\nmost_urgent = 10\n", tmp_path, monkeypatch)


def test_the_pages_show_every_group() -> None:
    shown = {name for block in blocks("toml") for name in re.findall(r"^\[(\w+)", block.text, re.MULTILINE)}
    groups = {name for name, field in Settings.model_fields.items() if hasattr(field.annotation, "model_fields")}
    assert groups <= shown
