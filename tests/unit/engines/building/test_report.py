"""The report says what was measured and allowed; its page shows three pictures of each frame and loads nothing."""

from __future__ import annotations

import base64
import io
import json
import re

import numpy as np
import pytest
from PIL import Image

from engines import models
from engines.blobs import PAGE, REPORT
from engines.building import report
from engines.building.parity import Difference, Levels, Parity, Row
from engines.building.verify import END_TO_END, Compared
from engines.manifest import Manifest

WANTED = np.full((9, 8, 12, 3), 100.0, np.float32)
FOUND = WANTED + np.float32(2.0)


@pytest.fixture(scope="module")
def manifest() -> Manifest:
    return Manifest.from_json((models.find("sprite").prebuilt / "manifest.json").read_bytes(), where="prebuilt")


def compared(*, largest: float = 1e-3, pictures: bool = True) -> Compared:
    place = (END_TO_END, "3:2 <wide>")
    parity = Parity(
        (Row("dit", 64, Difference(largest, 1e-4, 1e-7)),),
        Difference(1e-3, 1e-4, 1e-6),
        Levels(2.0, 0.1),
        {"dit": "float16"},
    )
    shown = ({place: {"frames": WANTED}}, {place: {"frames": FOUND}}) if pictures else ({}, {})
    return Compared(parity, *shown)


def test_the_report_has_each_number_beside_what_is_allowed(manifest: Manifest) -> None:
    told = json.loads(report.papers(manifest, compared(), "torch")[REPORT])
    [row] = told["components"]
    assert (row["component"], row["precision"], row["batch"], row["largest"]) == ("dit", "float16", 64, 1e-3)
    assert row["allowed"]["largest"] > 1e-3
    assert told["problems"] == []
    assert "dit" in report.lines(told)[1]


def test_what_is_no_number_is_null_and_a_problem(manifest: Manifest) -> None:
    told = json.loads(report.papers(manifest, compared(largest=float("nan")), "torch")[REPORT])
    assert told["components"][0]["largest"] is None
    assert any("dit in float16, B=64" in problem for problem in told["problems"])
    assert "none" in report.lines(told)[1]


def test_the_page_shows_three_pictures_of_each_frame_and_loads_nothing(manifest: Manifest) -> None:
    page = report.papers(manifest, compared(), "torch & co")[PAGE].decode()
    pictures = re.findall(r'alt="([^"]*)" src="data:image/png;base64,([^"]+)"', page)
    assert [caption for caption, _ in pictures[:3]] == [
        "reference, frame 0",
        "engines",
        "difference, 64 times as strong",
    ]
    assert len(pictures) == 12
    found = [np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))) for _, data in pictures[:3]]
    assert [picture.shape for picture in found] == [(8, 12, 3)] * 3
    assert [int(picture.max()) for picture in found] == [100, 102, 128]
    assert "torch &amp; co" in page
    assert "3:2 &lt;wide&gt;" in page
    assert "<script" not in page
    assert not re.search(r"(src|href)=\"(?!data:)|https?:|url\(", page)


def test_without_pictures_the_page_says_why(manifest: Manifest) -> None:
    assert "There are no pictures" in report.papers(manifest, compared(pictures=False), "torch")[PAGE].decode()
