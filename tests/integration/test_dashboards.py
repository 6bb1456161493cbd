"""Every query of the dashboards is answered by a real Prometheus that has asked a Longtake that works, and drawn."""

from __future__ import annotations

import re
import time
import urllib.parse
from dataclasses import replace
from pathlib import Path

import pytest

from helm.monitoring.answers import Prometheus, Span
from helm.monitoring.boards import BOARDS
from helm.monitoring.page import page
from serving.gen.longtake.v1 import videos_pb2
from tests.integration.house import House, Video, fetch, red_square, scene
from tests.servers import program, prometheus_server

pytestmark = pytest.mark.ray
SPAN_S = 120.0
SILENT = {
    "Refused",
    "Creates sent again",
    "Watch stream lost",
    "Hints that did not arrive",
    "Stage calls that failed",
    "Workers lost",
    "Stages away",
    "Away",
    "A checkpoint",
    "Collections",
    "GPU memory",
}
"""Nothing to tell of where nothing went wrong, for so short a time, or without a GPU."""


def test_every_query_gives_data(house: House, tmp_path: Path) -> None:
    if program("prometheus") is None:
        pytest.skip("the program `prometheus` is not on the PATH")
    picture = videos_pb2.Media(file_id=house.upload(scene(red_square, 64, 64), "square.png"))

    def made() -> Video:
        return house.made(house.create(seconds=1, references=[picture]))  # the cache knows what was read of it

    url = made().url
    fetch(url)
    targets = [urllib.parse.urlsplit(place).netloc for place in (url, house.metrics_url)]
    with prometheus_server(tmp_path, targets) as server:
        made()
        missing = _missing(server)
        ends = time.monotonic() + 60  # Ray tells its numbers some seconds later
        while missing and time.monotonic() < ends:
            made()  # what is divided by the videos of a time needs some in it
            missing = _missing(server)

        now = time.time()
        drawn = page(list(BOARDS.values()), Prometheus(server, Span(now - SPAN_S, now)))

    assert missing == {}
    figures = re.findall(r"<figcaption>(.*?)</figcaption>(.*?)</figure>", drawn, re.DOTALL)
    assert len(figures) == sum(len(panels) for board in BOARDS.values() for _, panels in board.rows)
    assert {title for title, picture in figures if "nothing to tell" in picture} <= SILENT


def _missing(server: str) -> dict[str, str]:
    """Panels of which a query has no number for an answer, and the query."""
    now = time.time()
    prometheus = Prometheus(server, Span(now - SPAN_S, now))
    return {
        f"{board.name}: {panel.title}": query.expr
        for board in BOARDS.values()
        for _, panels in board.rows
        for panel in panels
        for query in panel.queries
        if panel.title not in SILENT and not prometheus.lines(replace(panel, queries=(query,)))
    }
