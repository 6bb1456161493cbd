"""What a Prometheus answers to a panel's queries over a span of time. `page.py` asks, `drawing.py` draws it."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import httpx

from helm.monitoring.board import WINDOW, Panel

_POINTS: Final = 120
"""Of a line."""
_SCRAPES_S: Final = 60.0
"""Rates are over so long at least: four times what a Prometheus usually waits between two looks."""


class NoAnswerError(Exception):
    """A Prometheus that is away, or refuses a query; says which."""


@dataclass(frozen=True)
class Span:
    """Of time, in Unix seconds."""

    start: float
    end: float

    @property
    def step_s(self) -> float:
        """Between two points."""
        return (self.end - self.start) / _POINTS


@dataclass(frozen=True)
class Line:
    """One of a panel's."""

    legend: str
    points: tuple[tuple[float, float], ...]
    """Unix seconds and value; at least one, each a number."""


class Prometheus:
    """At a URL, asked about a span. `namespace` is a regular expression, as the dashboards' variable is."""

    def __init__(self, url: str, span: Span, *, namespace: str = ".*") -> None:
        self._url, self.span, self._namespace = url.rstrip("/"), span, namespace
        self._trust = httpx.create_ssl_context()  # which takes longer than a query

    def lines(self, panel: Panel) -> list[Line]:
        """All that have a value in the span, in the order of the queries. Raises `NoAnswerError`."""
        return [
            Line(legend_of(query.legend, one["metric"]) or panel.title, points)
            for query in panel.queries
            for one in self._asked(query.expr)
            if (points := _numbers(one["values"]))
        ]

    def _asked(self, expr: str) -> list[dict[str, Any]]:
        window_s = math.ceil(max(_SCRAPES_S, 4 * self.span.step_s))
        filled = expr.replace(WINDOW, f"{window_s}s").replace("$namespace", self._namespace)
        params: dict[str, str | float] = {
            "query": filled,
            "start": self.span.start,
            "end": self.span.end,
            "step": self.span.step_s,
        }
        try:
            answer = httpx.get(f"{self._url}/api/v1/query_range", params=params, timeout=30.0, verify=self._trust)
            told: dict[str, Any] = answer.json()
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise NoAnswerError(f"{self._url} does not answer ({error}): give the URL of a Prometheus") from error
        except ValueError as error:
            raise NoAnswerError(f"{self._url} is no Prometheus: it answered {answer.status_code}") from error
        if told.get("status") != "success":
            raise NoAnswerError(f"{self._url} refuses {filled!r}: {told.get('error')}")
        found: list[dict[str, Any]] = told["data"]["result"]
        return found


def legend_of(form: str, labels: Mapping[str, str]) -> str:
    """Grafana's form, `{{model}} p95`, with the labels' values."""
    return re.sub(r"\{\{(\w+)\}\}", lambda found: labels.get(found[1], ""), form).strip()


def _numbers(values: list[tuple[float, str]]) -> tuple[tuple[float, float], ...]:
    return tuple((at, number) for at, text in values if math.isfinite(number := float(text)))
