"""A dashboard in plain values, and how it becomes Grafana's JSON: rows of panels, each of some queries.

`operations.py`, `stages.py` and `frontdoors.py` say what is shown; `__main__.py` writes the files.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal

from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import LegendDisplayMode, LegendPlacement, StackingMode, TooltipDisplayMode
from grafana_foundation_sdk.models.dashboard import DataSourceRef, VariableRefresh

HERE: Final = 'namespace=~"$namespace"'
"""In every selector. Where nothing has a namespace, outside of Kubernetes, `All` matches too."""
WINDOW: Final = "$__rate_interval"
_SOURCE: Final = DataSourceRef(type_val="prometheus", uid="${datasource}")
_WIDTH: Final = 24
"""Of Grafana's grid."""


@dataclass(frozen=True)
class Query:
    """PromQL, and what its lines are called."""

    expr: str
    legend: str = ""


@dataclass(frozen=True)
class Panel:
    """One picture."""

    title: str
    unit: str
    """Of Grafana's: s, reqps, percentunit, bytes, short."""
    queries: tuple[Query, ...]
    help: str
    """What it tells, and what to make of it."""
    kind: Literal["lines", "number"] = "lines"
    stacked: bool = False


@dataclass(frozen=True)
class Board:
    """One dashboard."""

    name: str
    """Of its file, and of its address."""
    title: str
    rows: tuple[tuple[str, tuple[Panel, ...]], ...]

    def queries(self) -> Iterator[tuple[str, str]]:
        """Panel's title and PromQL, of all."""
        return ((panel.title, query.expr) for _, panels in self.rows for panel in panels for query in panel.queries)


def quantiles(metric: str, by: str, *, of: str = "", at: tuple[float, ...] = (0.5, 0.95)) -> tuple[Query, ...]:
    """Of a histogram, by labels; without any over all."""
    labels = f"le, {by}" if by else "le"
    legend = "".join(f"{{{{{label}}}}} " for label in by.split(", ") if label)
    selected = f"{metric}_bucket{{{', '.join(filter(None, (HERE, of)))}}}"
    return tuple(
        Query(f"histogram_quantile({q}, sum by ({labels}) (rate({selected}[{WINDOW}])))", f"{legend}p{q * 100:.0f}")
        for q in at
    )


def rate(metric: str, by: str, *, of: str = "") -> str:
    """Of a counter, a second, summed by labels: its replicas come and go."""
    selected = f"{metric}{{{', '.join(filter(None, (HERE, of)))}}}"
    return f"sum by ({by}) (rate({selected}[{WINDOW}]))" if by else f"sum(rate({selected}[{WINDOW}]))"


def encoded(board: Board) -> str:
    """Grafana's JSON."""
    made = (
        dashboard.Dashboard(board.title)
        .uid(f"longtake-{board.name}")
        .tags(["longtake"])
        .readonly()
        .refresh("30s")
        .time("now-1h", "now")
        .with_variable(dashboard.DatasourceVariable("datasource").label("Prometheus").type("prometheus"))
        .with_variable(
            dashboard.QueryVariable("namespace")
            .label("Namespace")
            .query("label_values(longtake_watch_connected, namespace)")
            .datasource(_SOURCE)
            .include_all(True)
            .all_value(".*")
            .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        )
    )
    for title, panels in board.rows:
        made = made.with_row(dashboard.Row(title))
        for panel in panels:
            made = made.with_panel(_number(panel) if panel.kind == "number" else _lines(panel))
    value: dict[str, Any] = json.loads(JSONEncoder(sort_keys=True).encode(made.build()))
    for number, one in enumerate(value["panels"], 1):  # the builder numbers none
        one["id"] = number
    return json.dumps(value, indent=1, sort_keys=True) + "\n"


def _lines(panel: Panel) -> timeseries.Panel:
    made = timeseries.Panel().span(_WIDTH // 3).height(8).fill_opacity(20 if panel.stacked else 0).min(0)
    legend = common.VizLegendOptions().display_mode(LegendDisplayMode.LIST).placement(LegendPlacement.BOTTOM)
    made = made.legend(legend.show_legend(True))
    made = made.tooltip(common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI))
    if panel.stacked:
        made = made.stacking(common.StackingConfig().mode(StackingMode.NORMAL))
    _fill(made, panel)
    return made


def _number(panel: Panel) -> stat.Panel:
    made = stat.Panel().span(_WIDTH // 6).height(4)
    _fill(made, panel)
    return made


def _fill(made: timeseries.Panel | stat.Panel, panel: Panel) -> None:
    made.title(panel.title).description(panel.help).unit(panel.unit).datasource(_SOURCE)
    for at, query in enumerate(panel.queries):
        target = prometheus.Dataquery().expr(query.expr).legend_format(query.legend).ref_id(chr(ord("A") + at))
        made.with_target(target)
