"""The dashboards: the committed JSON is what the Python says, and shows what is counted, once each."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from helm.monitoring.__main__ import FOLDER
from helm.monitoring.board import Board
from helm.monitoring.boards import BOARDS
from serving.metrics import FRONT_DOOR, REPLICAS

ROOT = Path(__file__).parents[2]
every_board = pytest.mark.parametrize("board", BOARDS.values(), ids=BOARDS)


def test_the_committed_files_are_current(tmp_path: Path) -> None:
    checked = subprocess.run(
        [sys.executable, "-m", "helm.monitoring", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stderr


@every_board
def test_it_shows_what_is_counted(board: Board) -> None:
    known = {metric.name for metric in FRONT_DOOR} | {f"ray_{metric.name}" for metric in REPLICAS}
    for title, expr in board.queries():
        named = {re.sub(r"_(bucket|count)$", "", name) for name in re.findall(r"\b(?:ray_)?longtake_\w+", expr)}
        assert named, title
        assert named <= known, title
        assert expr.count('namespace=~"$namespace"') == len(re.findall(r"\b(?:ray_)?longtake_\w+", expr)), title


def test_every_metric_is_shown_somewhere() -> None:
    """But for those that only say how much was deleted."""
    shown = "\n".join(expr for board in BOARDS.values() for _, expr in board.queries())
    every = {metric.name for metric in FRONT_DOOR} | {f"ray_{metric.name}" for metric in REPLICAS}
    assert {name for name in every if name not in shown} == {
        "ray_longtake_collected_keys_total",
        "ray_longtake_collected_bytes_total",
    }


@every_board
def test_grafana_finds_its_way(board: Board) -> None:
    value: dict[str, Any] = json.loads((FOLDER / f"{board.name}.json").read_text())
    panels = value["panels"]
    ids = [panel["id"] for panel in panels]
    places = [tuple(panel["gridPos"].values()) for panel in panels]
    assert len(set(ids)) == len(ids)
    assert len(set(places)) == len(places)
    assert [variable["name"] for variable in value["templating"]["list"]] == ["datasource", "namespace"]
    for panel in panels:
        if panel["type"] != "row":
            assert panel["description"]
            assert {target["refId"] for target in panel["targets"]} == set("ABCDEFGH"[: len(panel["targets"])])
