"""A user without a home folder: what is placed by settings works, and all else says what to place."""

from __future__ import annotations

import pwd
from pathlib import Path

import pytest

from serving.errors import SettingsError, StoreUnfit
from serving.home import expanded, home, in_home
from serving.settings import load_settings
from serving.store.open import open_store
from serving.store.s3.credentials import shared_file

pytestmark = pytest.mark.anyio


@pytest.fixture
def homeless(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container under a number that no user has."""

    def nobody(number: int) -> None:
        raise KeyError(f"uid not found: {number}")

    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr(pwd, "getpwuid", nobody)


def test_what_is_ours_lies_in_a_folder_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/kim")
    assert home() == Path("/home/kim")
    assert in_home("store", instead="x") == Path("/home/kim/.longtake/store")
    assert load_settings().store == "/home/kim/.longtake/store"


@pytest.mark.usefixtures("homeless")
def test_a_store_that_is_named_needs_no_home(tmp_path: Path) -> None:
    settings = load_settings(store=str(tmp_path))
    assert settings.store == str(tmp_path)
    assert not settings.engines.trusted_keys.exists()
    assert not shared_file().exists()


@pytest.mark.usefixtures("homeless")
def test_without_a_home_a_store_must_be_named() -> None:
    with pytest.raises(SettingsError, match="no home folder: set HOME, or name the store"):
        load_settings()
    with pytest.raises(SettingsError, match="or name the logs"):
        in_home("logs", instead="name the logs")


@pytest.mark.parametrize("path", ["~nobody-of-this-name/x", "dir://~nobody-of-this-name/x"])
async def test_a_home_that_nobody_has_is_named(path: str) -> None:
    with pytest.raises(SettingsError, match="write the whole path"):
        expanded(Path(path.removeprefix("dir://")))
    with pytest.raises(StoreUnfit, match="write the whole path"):
        await open_store(path)
