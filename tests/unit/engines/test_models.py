"""The registry knows each model by name and alias."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from engines import models
from engines.checkpoints.files import Folder
from engines.errors import EngineNotBuilt


def test_a_model_is_found_by_name_and_alias() -> None:
    assert models.family("sprite-2") is models.family("sprite")


def test_names_and_aliases_are_given_once() -> None:
    names = [name for model in models.all_models() for name in (model.name, *model.family.capabilities.aliases)]
    assert len(names) == len(set(names))


def test_an_unknown_model_names_those_that_are_there() -> None:
    with pytest.raises(ValueError, match="'giant' is not known; there is sprite-2"):
        models.find("giant")


def test_weights_are_digested_by_name_and_contents(tmp_path: Path) -> None:
    assert models.digest_of_weights(Folder(tmp_path)) is None
    (tmp_path / "a.safetensors").write_bytes(b"1")
    first = models.digest_of_weights(Folder(tmp_path))
    (tmp_path / "notes.txt").write_bytes(b"of no weight")
    assert models.digest_of_weights(Folder(tmp_path)) == first
    (tmp_path / "a.safetensors").write_bytes(b"2")
    assert models.digest_of_weights(Folder(tmp_path)) != first


def test_a_model_without_prebuilt_engines_has_no_digest(tmp_path: Path) -> None:
    bare = replace(models.find("sprite"), prebuilt=tmp_path, weights=Folder(tmp_path))
    with pytest.raises(EngineNotBuilt, match="longtake engines build"):
        bare.digest()
