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
    with pytest.raises(SettingsError, match=r"^LONGTAKE_STAGES__SCALE: .*JSON: Expecting value"):
        load_settings()


def test_a_variable_that_is_no_json_is_named_and_not_the_others_of_its_group(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LONGTAKE_MODEL", "sprite-2")
    monkeypatch.setenv("LONGTAKE_MODELS", "{bad")
    with pytest.raises(SettingsError, match=r"^LONGTAKE_MODELS: in the environment a table is JSON: Expecting"):
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


def test_a_port_that_there_is_not_is_told_with_those_that_there_are() -> None:
    with pytest.raises(SettingsError, match=r"'127\.0\.0\.1:99999' is no address: ports are 1 to 65535"):
        split_address("127.0.0.1:99999")


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


# ── several models ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_each_model_has_what_the_stages_have_but_for_what_is_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "longtake.toml"
    file.write_text(
        """
model = "sprite-2"
[stages]
slots = 3
scale = {denoiser = {min = 0, max = 2}}
needs = {renderer = {num_gpus = 0.5}}
[models."wan-1.3b+style"]
variant = "tensorrt_rtx-sm89"
replicas = {denoiser = 1}
needs = {denoiser = {num_gpus = 1}}
[models.sprite-2]
slots = 4
"""
    )
    monkeypatch.setenv("LONGTAKE_CONFIG", str(file))
    settings = load_settings()

    assert settings.served == ("sprite-2", "wan-1.3b+style")
    sprite, wan = (settings.of(name) for name in settings.served)
    assert (sprite.stages.slots, sprite.stages.scale_of("denoiser").max, sprite.engines.variant) == (4, 2, "")
    assert (wan.stages.slots, wan.stages.scale_of("denoiser").max) == (3, 1)
    assert {name: needs.num_gpus for name, needs in wan.stages.needs.items()} == {"renderer": 0.5, "denoiser": 1}
    assert (wan.model, wan.models, wan.engines.variant) == ("wan-1.3b+style", {}, "tensorrt_rtx-sm89")


def test_models_come_from_the_environment_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LONGTAKE_MODELS", '{"wan": {"slots": 9}}')
    assert load_settings().of("wan").stages.slots == 9


@pytest.mark.parametrize(
    ("model", "says"),
    [
        ({"scale": {"denoiser": {"max": 9}}}, r"`models\.wan`: up to 9 Denoisers .* set `slots` to 9 or more"),
        ({"replicas": {"denoiser": 2}, "scale": {"denoiser": {"max": 2}}}, r"`models\.wan`: .* keep one of them"),
        ({"replicas": {"denoisr": 2}}, r"models\.wan\.replicas\.denoisr"),
        ({"backlog_s": 3}, r"`models\.wan\.backlog_s`: there is no such setting"),
    ],
)
def test_what_does_not_fit_a_model_is_named_with_it(model: dict[str, Any], says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        load_settings(models={"wan": model})
