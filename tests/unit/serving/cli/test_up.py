"""What `longtake up` says to type next works as it stands there."""

from __future__ import annotations

import asyncio
from pathlib import Path

from serving.cli.up import _takes_text, _welcome
from serving.local.up import Ready
from serving.settings import Auth, Grpc, Settings

READY = Ready("127.0.0.1:50051", "127.0.0.1:8080", "127.0.0.1:1", "127.0.0.1:2")


def test_nothing_is_said_that_is_the_default() -> None:
    said = _welcome(READY, 7.0, Settings())
    assert "  longtake ls\n" in said
    assert "KEY" not in said


def test_what_a_client_needs_is_said(tmp_path: Path) -> None:
    settings = Settings(
        grpc=Grpc(address="127.0.0.1:6000", tls_cert=tmp_path / "cert.pem", tls_key=tmp_path / "key.pem"),
        auth=Auth(keys_file=tmp_path / "keys.jsonl"),
    )
    said = _welcome(Ready("127.0.0.1:6000", "127.0.0.1:8080", "127.0.0.1:1", "127.0.0.1:2"), 7.0, settings)
    assert "  longtake ls --server 127.0.0.1:6000 --tls --api-key KEY\n" in said
    assert f"longtake keys add NAME --file {tmp_path / 'keys.jsonl'}" in said


def test_a_model_that_makes_nothing_of_text_alone_is_shown_with_a_first_frame() -> None:
    said = _welcome(READY, 7.0, Settings(), of_text=False)
    assert '  longtake generate --first-frame start.png "it moves left"\n' in said
    assert '  longtake generate "a red bar moves right under a white sky"\n' in _welcome(READY, 7.0, Settings())


def test_what_the_model_takes_is_asked_of_it_or_of_the_store(tmp_path: Path) -> None:
    assert asyncio.run(_takes_text(Settings()))
    assert asyncio.run(_takes_text(Settings(model="gone", store=str(tmp_path / "none"))))
    assert not (tmp_path / "none").exists()
