"""`longtake gc` and `longtake scrub`, as a user sees them."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from serving.cli.main import build
from serving.clock import now_ms
from serving.jobs.record import JobRecord
from serving.store.open import open_store
from tests.unit.serving.retention.stored_videos import StoredVideos

RUN = CliRunner()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store that the settings name, with a living video, a deleted one and an upload that nobody named."""
    monkeypatch.setenv("LONGTAKE_STORE", str(tmp_path / "store"))
    monkeypatch.delenv("LONGTAKE_CONFIG", raising=False)
    asyncio.run(_fill(tmp_path / "store"))
    return tmp_path / "store"


async def _fill(folder: Path) -> JobRecord:
    videos = StoredVideos(await open_store(str(folder), probe=False), now_ms)
    video = await videos.finished(seed=1)
    await videos.delete((await videos.finished(seed=2)).id)
    await videos.blobs.put(b"nobody's")
    return video


def grow_old(folder: Path, hours: float = 2.0) -> None:
    """As if so much time had passed."""
    for path in (folder / "objects").rglob("*"):
        if path.is_file():
            at = path.stat().st_mtime - hours * 3600
            os.utime(path, (at, at))


def keys(folder: Path) -> set[Path]:
    return {path for path in (folder / "objects").rglob("*") if path.is_file()}


def test_gc_tells_by_kind_what_stays_and_what_went(folder: Path) -> None:
    result = RUN.invoke(build(), ["gc", "-o", "json"])
    assert result.exit_code == 0, result.output
    kinds = json.loads(result.stdout)["kinds"]
    assert kinds["blobs"]["young"]["keys"] == 1
    assert kinds["blobs"]["collected"]["keys"] == 0
    grow_old(folder)
    dry = json.loads(RUN.invoke(build(), ["gc", "--dry-run", "-o", "json"]).stdout)
    there = keys(folder)
    result = RUN.invoke(build(), ["gc"])
    assert result.exit_code == 0, result.output
    assert dry["kinds"]["blobs"]["collected"]["keys"] == 4
    assert "4 (" in next(line for line in result.stdout.splitlines() if line.startswith("blobs"))
    assert len(there - keys(folder)) == 4 + 1 + 1, "four blobs, a segment and a tombstone"
    assert RUN.invoke(build(), ["scrub"]).exit_code == 0


def test_a_dry_run_deletes_nothing(folder: Path) -> None:
    grow_old(folder)
    before = keys(folder)
    result = RUN.invoke(build(), ["gc", "--dry-run"])
    assert result.exit_code == 0
    assert "would be collected" in result.stdout
    assert keys(folder) == before


def test_the_settings_time_to_live_counts(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LONGTAKE_RETENTION__TENANTS", '{"default": 60}')
    assert "0 videos" in RUN.invoke(build(), ["gc", "--dry-run"]).stdout
    monkeypatch.setenv("LONGTAKE_RETENTION__MARGIN_S", "1")
    result = RUN.invoke(build(), ["gc"])
    assert result.exit_code == 2
    assert "retention.margin_s" in result.stderr


def test_a_tenant_that_was_left_alone_is_exit_code_1(folder: Path) -> None:
    record = next((folder / "objects/t/default/jobs").iterdir())
    record.write_text("{}")
    grow_old(folder)
    result = RUN.invoke(build(), ["gc"])
    assert result.exit_code == 1
    assert f"t/default/jobs/{record.name}" in result.stdout
    assert "left alone" in result.stdout


def test_scrub_names_a_damaged_key_and_its_videos(folder: Path) -> None:
    assert "0 damaged" in RUN.invoke(build(), ["scrub", "--limit", "3"]).stdout
    for blob in (folder / "objects/t/default/blobs").iterdir():
        blob.write_bytes(blob.read_bytes() + b"!")
    result = RUN.invoke(build(), ["scrub", "-o", "json"])
    assert result.exit_code == 1
    findings = json.loads(result.stdout)["findings"]
    assert len(findings) == len(list((folder / "objects/t/default/blobs").iterdir()))
    assert sum(bool(finding["videos"]) for finding in findings) == 4
    assert "Restore" in RUN.invoke(build(), ["scrub"]).stdout


def test_a_store_that_cannot_be_reached_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LONGTAKE_S3_ACCESS_KEY", "AWS_ACCESS_KEY_ID"):
        monkeypatch.delenv(name, raising=False)
    for command in ("gc", "scrub"):
        result = RUN.invoke(build(), [command, "--store", "s3://127.0.0.1:1/bucket"])
        assert result.exit_code == 4
        assert "LONGTAKE_S3_ACCESS_KEY" in result.stderr
