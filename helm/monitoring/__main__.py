"""`python -m helm.monitoring`: write the dashboards' JSON; with `--check`, say whether it is current instead."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from helm.monitoring.board import encoded
from helm.monitoring.boards import BOARDS

FOLDER = Path(__file__).parents[1] / "longtake" / "files" / "dashboards"
"""The chart makes a ConfigMap of each file."""


def dashboards() -> dict[str, str]:
    """JSON by the name of its file."""
    return {f"{name}.json": encoded(board) for name, board in BOARDS.items()}


def main() -> None:
    """Exit code 1 where `--check` finds a file that differs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail where a file is not current")
    check = parser.parse_args().check
    wanted, there = dashboards(), {path.name: path.read_text() for path in FOLDER.glob("*.json")}
    if check:
        stale = sorted(name for name in wanted.keys() | there.keys() if wanted.get(name) != there.get(name))
        if stale:
            sys.exit(f"{', '.join(stale)}: not what `helm/monitoring` says: run `make dashboards`")
        return
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name in there.keys() - wanted.keys():
        (FOLDER / name).unlink()
    for name, text in wanted.items():
        (FOLDER / name).write_text(text)


if __name__ == "__main__":
    main()
