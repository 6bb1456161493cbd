"""Every query of the dashboards is answered by a real Prometheus that has asked a Longtake that works."""

from __future__ import annotations

import json
import time
import urllib.parse
from pathlib import Path
from typing import Any

import pytest

from helm.monitoring.frontdoors import BOARD as FRONTDOORS
from helm.monitoring.operations import BOARD as OPERATIONS
from helm.monitoring.stages import BOARD as STAGES
from serving.gen.longtake.v1 import videos_pb2
from tests.integration.house import House, Video, fetch, red_square, scene
from tests.servers import program, prometheus_server

pytestmark = pytest.mark.ray
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
}
"""Nothing to tell of where nothing went wrong, or for so short a time."""


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

    assert missing == {}


def _missing(server: str) -> dict[str, str]:
    """Panels whose query has no answer, and the query."""
    found = {}
    for board in (OPERATIONS, STAGES, FRONTDOORS):
        for title, expr in board.queries():
            asked = expr.replace("$__rate_interval", "20s").replace("$namespace", ".*")
            if not _answer(server, asked) and title not in SILENT:
                found[f"{board.name}: {title}"] = asked
    return found


def _answer(server: str, expr: str) -> list[Any]:
    value = json.loads(fetch(f"{server}/api/v1/query?{urllib.parse.urlencode({'query': expr})}"))
    assert value["status"] == "success", expr
    result: list[Any] = value["data"]["result"]
    return result
