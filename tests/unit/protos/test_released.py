"""Protos may grow, and may not break those that call the last release: `buf breaking` against its image."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.servers import program

PROTOS = Path(__file__).parents[3] / "protos"
VIDEOS = "longtake/v1/videos.proto"


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The protos in a folder of their own, to change."""
    return Path(shutil.copytree(PROTOS, tmp_path / "protos"))


def change(copy: Path, file: str, before: str, after: str) -> None:
    """Replace a line that must be there."""
    text = (copy / file).read_text()
    assert text.count(before) == 1, f"{file} has {before!r} {text.count(before)} times: plant another change"
    (copy / file).write_text(text.replace(before, after))


def breaking(protos: Path) -> list[str]:
    """What `make lint` would say about these protos; none: nothing breaks."""
    command = [str(program("buf")), "breaking", str(protos), "--against", str(PROTOS / "released.binpb")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode in {0, 100}, done.stderr  # 100: there are breaking changes; others: it did not run
    return done.stdout.splitlines()


def test_the_present_protos_break_nobody() -> None:
    assert breaking(PROTOS) == []


def test_a_new_field_a_new_method_and_a_new_message_break_nobody(copy: Path) -> None:
    change(copy, VIDEOS, "message GetVideoRequest {", "message GetVideoRequest {\n  bool brief = 99;")
    service = "service Videos {"
    change(copy, VIDEOS, service, service + "\n  rpc TouchVideo(TouchVideoRequest) returns (Video);")
    (copy / VIDEOS).write_text((copy / VIDEOS).read_text() + "\nmessage TouchVideoRequest {\n  string id = 1;\n}\n")
    assert breaking(copy) == []


@pytest.mark.parametrize(
    ("file", "before", "after", "wanted"),
    [
        (VIDEOS, "  int32 percent = 6;", "", 'field "6"'),
        (VIDEOS, "  int32 percent = 6;", '  reserved 6;\n  reserved "percent";', 'field "6"'),
        (VIDEOS, "    EXPIRED = 6;", '    reserved 6;\n    reserved "EXPIRED";', 'value "6"'),
        (VIDEOS, "  int32 percent = 6;", "  int32 per_cent = 6;", '"percent"'),
        (VIDEOS, "  int32 percent = 6;", "  string percent = 6;", "type"),
        (VIDEOS, "  int32 percent = 6;", "  int32 percent = 7;", 'field "6"'),
        (VIDEOS, "  rpc GetVideo(GetVideoRequest) returns (Video);", "", "GetVideo"),
        ("xai/api/v1/auth.proto", "  string team_id = 6;", "", 'field "6"'),
        ("longtake/internal/v1/director.proto", "  int32 segment_index = 7;", "", 'field "7"'),
    ],
    ids=[
        "field-gone",
        "field-reserved",
        "enum-value-reserved",
        "field-renamed",
        "type-changed",
        "number-changed",
        "method-gone",
        "public-wire",
        "internal-wire",
    ],
)
def test_a_change_that_breaks_callers_is_named(copy: Path, file: str, before: str, after: str, wanted: str) -> None:
    change(copy, file, before, after)
    assert any(file.rpartition("/")[2] in line and wanted in line for line in breaking(copy))


def test_a_service_that_is_gone_is_named(copy: Path) -> None:
    (copy / "xai/api/v1/auth.proto").unlink()
    assert any('"Auth"' in line for line in breaking(copy))
