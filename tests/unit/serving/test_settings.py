"""Settings: where they come from, and one clear line for each that is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from serving.errors import SettingsError
from serving.settings import is_loopback, load_settings, split_address


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LONGTAKE_CONFIG", raising=False)
    monkeypatch.delenv("LONGTAKE_GRPC__ADDRESS", raising=False)


def test_defaults_listen_on_loopback_without_keys() -> None:
    settings = load_settings()
    assert settings.grpc.address == "127.0.0.1:50051"
    assert settings.http.address == "127.0.0.1:8080"
    assert settings.auth.keys_file is None


def test_environment_beats_file_and_flags_beat_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "longtake.toml"
    file.write_text('store = "/from/file"\n[grpc]\naddress = "127.0.0.1:1"\n[http]\naddress = "127.0.0.1:2"\n')
    monkeypatch.setenv("LONGTAKE_CONFIG", str(file))
    monkeypatch.setenv("LONGTAKE_GRPC__ADDRESS", "127.0.0.1:3")
    settings = load_settings(http={"address": "127.0.0.1:4"})
    assert (settings.store, settings.grpc.address, settings.http.address) == (
        "/from/file",
        "127.0.0.1:3",
        "127.0.0.1:4",
    )


def test_an_unknown_setting_in_the_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "longtake.toml"
    file.write_text('[grpc]\nadress = "127.0.0.1:1"\n')
    monkeypatch.setenv("LONGTAKE_CONFIG", str(file))
    with pytest.raises(SettingsError, match=r"grpc\.adress"):
        load_settings()


def test_a_missing_settings_file_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LONGTAKE_CONFIG", "/no/such/file.toml")
    with pytest.raises(SettingsError, match=r"LONGTAKE_CONFIG names /no/such/file\.toml"):
        load_settings()


def test_a_settings_file_that_is_no_toml_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "longtake.toml"
    file.write_text("slots = [")
    monkeypatch.setenv("LONGTAKE_CONFIG", str(file))
    with pytest.raises(SettingsError, match=r"longtake\.toml is no TOML: Invalid value"):
        load_settings()


def test_a_settings_file_of_other_bytes_than_text_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "longtake.toml"
    file.write_bytes(b"model = 'M\xfcller'")
    monkeypatch.setenv("LONGTAKE_CONFIG", str(file))
    with pytest.raises(SettingsError, match=r"longtake\.toml is no TOML: 'utf-8' codec"):
        load_settings()


def test_a_table_in_the_environment_that_is_no_json_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LONGTAKE_STAGES__SCALE", '{"denoiser": ')
    with pytest.raises(SettingsError, match=r"JSON: .*stages.*Expecting value"):
        load_settings()


def test_a_reachable_address_demands_keys() -> None:
    with pytest.raises(SettingsError, match=r"auth\.keys_file"):
        load_settings(grpc={"address": "0.0.0.0:50051"})


def test_half_a_certificate_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="come together"):
        load_settings(grpc={"tls_cert": tmp_path / "cert.pem"})


def test_a_keys_file_that_is_absent_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"keys\.jsonl is not a file"):
        load_settings(auth={"keys_file": tmp_path / "keys.jsonl"})


@pytest.mark.parametrize("address", ["50051", "host:", "host:99999", ":1", "host:http", "host:²", "host:" + "9" * 5000])
def test_a_malformed_address_is_explained(address: str) -> None:
    with pytest.raises(SettingsError, match="host:port"):
        split_address(address)


@pytest.mark.parametrize(
    ("address", "want"),
    [("127.0.0.1:1", True), ("localhost:1", True), ("[::1]:1", True), ("0.0.0.0:1", False), ("box:1", False)],
)
def test_loopback_is_recognised(address: str, want: bool) -> None:
    assert is_loopback(address) is want


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ({"stagez": {}}, "setting `stagez`: there is no such setting; `docs/settings.md`"),
        ({"stages": {"slotz": 2}}, "setting `stages.slotz`: there is no such setting"),
        ({"stages": {"scale": {"denoiser": {"min": 3, "max": 1}}}}, "setting `stages.scale.denoiser`: `min` is 3"),
        ({"stages": {"scale": {"denoisr": {}}}}, "setting `stages.scale.denoisr`: Input should be"),
        ({"http": {"url_ttl_s": 1}}, "setting `http.url_ttl_s`: Input should be greater than or equal to 60"),
    ],
)
def test_a_setting_that_is_wrong_is_named_with_the_fix(flags: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingsError) as refused:
        load_settings(**flags)
    assert str(refused.value).startswith(said)
