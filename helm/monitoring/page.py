"""`python -m helm.monitoring.page URL`: the dashboards as one HTML page, drawn from a Prometheus' answers, for those
who have no Grafana at hand. It holds all that it shows, and loads nothing.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from typing import Final

from helm.monitoring.answers import NoAnswerError, Prometheus, Span
from helm.monitoring.board import Board
from helm.monitoring.boards import BOARDS
from helm.monitoring.drawing import drawn

_STYLE: Final = """
:root { color-scheme: light dark; --ink: #1d1f23; --soft: #5a5f68; --paper: #f6f5f1; --card: #fff; --line: #e4e1d9; }
@media (prefers-color-scheme: dark) { :root { --ink: #ececea; --soft: #a8acb3; --paper: #17181b; --card: #202226;
  --line: #3a3d44; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 86rem; padding: .5rem 1.25rem 1rem; background: var(--paper); color: var(--ink);
  font: 14px/1.4 system-ui, sans-serif; }
h1 { font-size: 1.3rem; margin: .6rem 0; } h1 small { font-weight: 400; color: var(--soft); }
h2 { font-size: 1rem; margin: 1rem 0 .5rem; }
.row { display: grid; gap: .6rem; grid-template-columns: repeat(auto-fill, minmax(24rem, 1fr)); }
.row:has(.number) { grid-template-columns: repeat(auto-fill, minmax(12rem, 1fr)); }
figure { margin: 0; padding: .5rem .7rem; background: var(--card); border: 1px solid var(--line); border-radius: 6px; }
figcaption { font-weight: 600; } svg { width: 100%; display: block; } svg line { stroke: var(--line); }
svg text { font: 10px system-ui, sans-serif; fill: var(--soft); }
.number { font-size: 1.8rem; margin: .2rem 0; } .none { color: var(--soft); margin: .4rem 0; }
ul { list-style: none; margin: .2rem 0 0; padding: 0; display: flex; flex-wrap: wrap; gap: 0 .9rem; font-size: .8rem;
  color: var(--soft); } li b { color: var(--ink); font-weight: 600; }
li i { display: inline-block; width: .8em; height: .25em; margin-right: .35em; vertical-align: middle; }
"""


def page(boards: Sequence[Board], prometheus: Prometheus) -> str:
    """All of it. Raises `NoAnswerError`."""
    span = prometheus.span
    ended = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(span.end))
    sections = "".join(
        f"<h1>{escape(board.title)} <small>{(span.end - span.start) / 60:.0f} minutes until {ended}</small></h1>"
        f"{''.join(_rows(board, prometheus))}"
        for board in boards
    )
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>Longtake: dashboards</title><style>{_STYLE}</style></head><body>{sections}</body></html>
"""


def _rows(board: Board, prometheus: Prometheus) -> Iterator[str]:
    for title, panels in board.rows:
        figures = "".join(
            f'<figure title="{escape(panel.help)}"><figcaption>{escape(panel.title)}</figcaption>'
            f"{drawn(panel, prometheus.lines(panel), prometheus.span)}</figure>"
            for panel in panels
        )
        yield f'<h2>{escape(title)}</h2><div class="row">{figures}</div>'


def main() -> int:
    """Exit code 1 where the Prometheus does not answer."""
    parser = argparse.ArgumentParser(prog="python -m helm.monitoring.page", description="The dashboards as a page.")
    parser.add_argument("url", help="of a Prometheus that asks Longtake, as http://localhost:9090")
    parser.add_argument("--board", action="append", choices=BOARDS, help="this one alone; may be given again")
    parser.add_argument("--minutes", type=float, default=60.0, help="of the time until now (60)")
    parser.add_argument("--namespace", default=".*", help="regular expression: Kubernetes namespaces that are shown")
    parser.add_argument("--out", type=Path, default=Path("dashboards.html"), help="the file (dashboards.html)")
    arguments = parser.parse_args()
    now = time.time()
    if arguments.minutes <= 0:
        parser.error("--minutes must be more than 0")
    prometheus = Prometheus(arguments.url, Span(now - 60 * arguments.minutes, now), namespace=arguments.namespace)
    try:
        text = page([BOARDS[name] for name in arguments.board or BOARDS], prometheus)
    except NoAnswerError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 1
    arguments.out.write_text(text)
    print(arguments.out)  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
