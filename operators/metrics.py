"""What the operator counts, and the port where Prometheus reads it. Names of the units: Prometheus' own."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

CALLS = Counter("longtake_operator_api_calls", "Calls to the API server.", ["verb", "kind"])
RECONCILIATIONS = Counter("longtake_operator_reconciliations", "Services looked at, by how it ended.", ["outcome"])
SECONDS = Histogram("longtake_operator_reconciliation_seconds", "Time that looking at one service took.")
WAITING = Gauge("longtake_operator_queue_length", "Services that something changed about and nobody has looked at yet.")
READY = Gauge("longtake_operator_services_ready", "1: the service is ready.", ["namespace", "service"])
TAKEN_BACK = Gauge(
    "longtake_operator_change_taken_back",
    "1: the newest change was taken back, and what served before serves.",
    ["namespace", "service"],
)
