"""What the parts of an installation are told: the same settings, wherever they stand."""

from __future__ import annotations

from pathlib import Path

import pytest

from serving.local.parts import environment_of
from serving.settings import Engines, Grpc, Settings, load_settings


@pytest.mark.parametrize(
    ("store", "told"),
    [
        ("store", "{here}/store"),
        ("dir://store?local=true", "dir://{here}/store?local=true"),
        ("/data/store", "/data/store"),
        ("s3://minio:9000/longtake?secure=false", "s3://minio:9000/longtake?secure=false"),
    ],
)
def test_a_process_that_stands_elsewhere_reads_the_same(
    store: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "longtake.toml").write_text('model = "sprite-2"')
    monkeypatch.setenv("LONGTAKE_CONFIG", "longtake.toml")
    monkeypatch.setenv("LONGTAKE_ENGINES__TRUSTED_KEYS", "elsewhere")
    monkeypatch.setenv("LONGTAKE_GRPC__ADDRESS", "127.0.0.1:7777")
    monkeypatch.setenv("LONGTAKE_S3_ACCESS_KEY", "ours")
    flags = Grpc(address="127.0.0.1:9999")
    given = load_settings(store=store, grpc=flags, engines=Engines(trusted_keys=Path("trusted")))

    environment = environment_of(given)
    monkeypatch.chdir("/")
    for name in ("LONGTAKE_CONFIG", "LONGTAKE_ENGINES__TRUSTED_KEYS", "LONGTAKE_GRPC__ADDRESS"):
        monkeypatch.delenv(name)
    for name, value in environment.items():
        if name.startswith("LONGTAKE_"):
            monkeypatch.setenv(name, value)
    read = load_settings()

    assert "LONGTAKE_CONFIG" not in environment
    assert environment["PYTHONSAFEPATH"] == "1"
    assert (environment["LONGTAKE_S3_ACCESS_KEY"], read.grpc.address) == ("ours", "127.0.0.1:9999")
    assert read.store == told.format(here=tmp_path)
    assert read.engines.trusted_keys == tmp_path / "trusted"
    assert (read.model, read.stages) == (given.model, given.stages)
    assert isinstance(read, Settings)
