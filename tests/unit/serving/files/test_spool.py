"""Temporary files that cannot be kept: whose fault it is, and what to do."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from serving.errors import Unavailable
from serving.files.spool import RETRY_S, kept_meanwhile


def test_a_full_disk_is_named_with_its_folder_and_the_fix() -> None:
    with pytest.raises(Unavailable) as caught, kept_meanwhile("the upload", Path("/dev")):
        Path("/dev/full").write_bytes(b"x")
    assert caught.value.message == (
        "the server cannot keep the upload in /dev meanwhile (No space left on device): an operator makes room there, "
        "or sets TMPDIR to where there is more"
    )
    assert (caught.value.reason, caught.value.retry_after_s) == ("NO_ROOM", RETRY_S)


def test_a_machine_without_any_such_folder_is_told_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_get_default_tempdir", _none)
    with (
        pytest.raises(Unavailable, match=r"keep the video in any folder .*\(no usable one\): .* sets TMPDIR"),
        kept_meanwhile("the video"),
        tempfile.TemporaryFile(),
    ):
        pass


def _none() -> str:
    raise FileNotFoundError(2, "no usable one")
