"""The dashboards' page: what a panel's picture shows of the answers, and what is said where there are none."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from helm.monitoring.answers import Line, NoAnswerError, Prometheus, Span, legend_of
from helm.monitoring.board import Panel, Query
from helm.monitoring.drawing import drawn, ticks, told

ROOT = Path(__file__).parents[3]
SPAN = Span(0.0, 120.0)
"""Points are a second apart."""


def panel(**parts: object) -> Panel:
    return Panel(**{"title": "Calls <all>", "unit": "reqps", "queries": (Query("up"),), "help": "", **parts})  # type: ignore[arg-type]


def heights(picture: str) -> list[list[float]]:
    """Of each line drawn, from the picture's lower edge, in parts of the plot's height."""
    lines = re.findall(r'<polyline points="([^"]+)"', picture)
    return [[(132 - float(point.split(",")[1])) / 126 for point in line.split()] for line in lines]


@pytest.mark.parametrize(
    ("most", "last", "count"), [(0.7, 0.8, 5), (1.0, 1.0, 6), (7.0, 8.0, 5), (12.0, 15.0, 4), (0.0, 1.0, 2)]
)
def test_the_scale_ends_just_above_the_most(most: float, last: float, count: int) -> None:
    found = ticks(most)
    assert found == pytest.approx([last * at / (count - 1) for at in range(count)])


@pytest.mark.parametrize(
    ("value", "unit", "said"),
    [
        (0.0123, "s", "12.3 ms"),
        (90.0, "s", "90 s"),
        (0.256, "percentunit", "25.6 %"),
        (3_400_000.0, "Bps", "3.4 MB/s"),
        (12.0, "reqps", "12/s"),
        (5.0, "short", "5"),
        (12_000.0, "short", "12 k"),
    ],
)
def test_numbers_are_told_as_people_read_them(value: float, unit: str, said: str) -> None:
    assert told(value, unit) == said


def test_lines_stand_as_high_as_their_values() -> None:
    lines = [Line("a", ((0.0, 1.0), (1.0, 2.0))), Line("b", ((0.0, 2.0), (1.0, 2.0)))]
    assert heights(drawn(panel(), lines, SPAN)) == [pytest.approx([0.5, 1.0], abs=0.01), pytest.approx([1.0, 1.0])]


def test_stacked_lines_stand_on_each_other() -> None:
    lines = [Line("a", ((0.0, 1.0), (1.0, 2.0))), Line("b", ((0.0, 1.0), (1.0, 2.0)))]
    picture = drawn(panel(stacked=True), lines, SPAN)
    assert heights(picture) == [pytest.approx([0.25, 0.5], abs=0.01), pytest.approx([0.5, 1.0], abs=0.01)]
    assert picture.count("<polygon") == 2


def test_a_gap_in_a_line_stays_one() -> None:
    line = Line("a", ((0.0, 1.0), (1.0, 1.0), (9.0, 1.0), (10.0, 1.0)))
    assert [len(piece) for piece in heights(drawn(panel(), [line], SPAN))] == [2, 2]


def test_a_picture_is_well_formed_whatever_labels_say() -> None:
    picture = drawn(panel(), [Line('<b a="1">&', ((0.0, 1.0),))], SPAN)
    assert ET.fromstring(picture[: picture.index("</svg>") + 6]).tag == "svg"
    assert "<b a" not in picture


def test_a_number_is_the_newest_and_nothing_is_said_to_be_nothing() -> None:
    line = Line("", ((0.0, 7.0), (1.0, 3.0)))
    assert ">3<" in drawn(panel(kind="number", unit="short"), [line], SPAN)
    assert "nothing to tell" in drawn(panel(), [], SPAN)


def test_a_legend_is_made_of_labels() -> None:
    assert legend_of("{{model}} {{stage}} p95", {"model": "sprite-2", "stage": "denoiser"}) == "sprite-2 denoiser p95"
    assert legend_of("{{model}} p95", {}) == "p95"


class Answers(BaseHTTPRequestHandler):
    """One fixed answer."""

    body, code = b"", 200

    def do_GET(self) -> None:
        self.send_response(self.code)
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def server() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Answers) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


def test_values_that_are_no_numbers_and_lines_without_any_are_left_out(
    server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = [{"metric": {}, "values": [[0, "NaN"], [1, "2"]]}, {"metric": {}, "values": [[0, "+Inf"]]}]
    told = {"status": "success", "data": {"resultType": "matrix", "result": result}}
    monkeypatch.setattr(Answers, "body", json.dumps(told).encode())
    assert Prometheus(server, SPAN).lines(panel()) == [Line("Calls <all>", ((1, 2.0),))]


@pytest.mark.parametrize(
    ("body", "code", "said"),
    [
        (b'{"status": "error", "error": "parse error"}', 400, "refuses 'up': parse error"),
        (b"<html>hello</html>", 404, "is no Prometheus: it answered 404"),
    ],
)
def test_what_is_no_answer_is_told(
    server: str, monkeypatch: pytest.MonkeyPatch, body: bytes, code: int, said: str
) -> None:
    monkeypatch.setattr(Answers, "body", body)
    monkeypatch.setattr(Answers, "code", code)
    with pytest.raises(NoAnswerError, match=said):
        Prometheus(server, SPAN).lines(panel())


def test_where_there_is_no_prometheus_one_line_says_so(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "helm.monitoring.page", "http://127.0.0.1:1", "--out", str(tmp_path / "page.html")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (1, "", 1)
    assert "give the URL of a Prometheus" in done.stderr
    assert not list(tmp_path.iterdir())
