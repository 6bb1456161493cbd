"""Many resources at one operator: a hundred VideoServices and a thousand EngineBuilds in one namespace of a real API
server. What it costs to bring them about is bounded, and at rest nothing changes. It needs no nodes, and runs where
`kube-apiserver` and `etcd` are on the PATH.
"""

from __future__ import annotations

import copy
import os
import secrets
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from loadtests.abuse.watching import resident_mb
from loadtests.table import Row
from operators.api.base import API_VERSION
from tests import kubernetes
from tests.integration.kube import SPEC as SERVICE
from tests.integration.kube import Kube, knowing_our_kinds, operator, until
from tests.integration.test_engine_build import SPEC as BUILD
from tests.servers import free_port

pytestmark = [
    pytest.mark.skipif(bool(kubernetes.missing()), reason=f"not on the PATH: {', '.join(kubernetes.missing())}"),
    pytest.mark.filterwarnings("ignore:Unverified HTTPS request"),
    pytest.mark.timeout(1800),
]
SERVICES, BUILDS = 100, 1000
WRITES = ("apply", "patch", "create", "delete")
CALM_S = 30.0
"""Without a write: whatever there was to do is done. What is not ready is looked at again now and then."""
CHILDREN = 7
"""Of a service. An operator that starts applies each once, and the API server finds that nothing changes."""
AT_A_LOOK = 20
"""Calls that read what belongs to one service; a build takes fewer."""
YOUNG_S = 75.0
"""A change that began so long ago is looked at rarely."""
REST_S = 60.0
"""So long it is looked at what nothing costs. No service is ready here, so each is looked at twice in that time."""


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[tuple[kubernetes.ApiServer, Kube]]:
    with knowing_our_kinds(tmp_path) as server:
        yield server, Kube(server, f"many-{secrets.token_hex(4)}")


def test_a_hundred_services_and_a_thousand_builds(
    cluster: tuple[kubernetes.ApiServer, Kube], report: list[Row], tmp_path: Path
) -> None:
    server, kube = cluster
    for number in range(SERVICES):
        kube.apply(kube.object(API_VERSION, "VideoService", f"s{number:03}", spec=copy.deepcopy(SERVICE)))
    for number in range(BUILDS):
        spec = BUILD | {"model": f"wan-{number:04}"}
        kube.apply(kube.object(API_VERSION, "EngineBuild", f"b{number:04}", spec=spec))

    port, began = free_port(), time.monotonic()
    with operator(server, kube.namespace, tmp_path / "first.log", port) as process:
        made = _calm(lambda: _calls(port), lambda: len(kube.find("batch/v1", "Job", kube.namespace, "")) == BUILDS)
        took, cost = time.monotonic() - began - CALM_S, _cpu_s(process.pid)
        time.sleep(max(0.0, YOUNG_S - took))
        before, spent = _calls(port), _cpu_s(process.pid)
        time.sleep(REST_S)
        rest, spent, weighs = _calls(port) - before, _cpu_s(process.pid) - spent, resident_mb(process.pid)
    doors = kube.find("apps/v1", "Deployment", kube.namespace, "")
    told = kube.find(API_VERSION, "VideoService", kube.namespace, "")
    ports, versions, began = (free_port(), free_port()), kube.versions(), time.monotonic()
    with ExitStack() as running:  # two that race for the Lease
        processes = [
            running.enter_context(operator(server, kube.namespace, tmp_path / f"{port}.log", port)) for port in ports
        ]
        again = _calm(lambda: _of_both(ports), lambda: _looks(ports[0]) + _looks(ports[1]) >= SERVICES + BUILDS)
        back, looks = time.monotonic() - began - CALM_S, [_looks(port) for port in ports]
        back_cost = sum(_cpu_s(process.pid) for process in processes)

    what = f"{SERVICES} VideoServices and {BUILDS} EngineBuilds"
    report.append(Row("operator", f"{what}, until all are told of", f"{took:.0f} s", f"{cost:.0f} s of CPU"))
    report.append(Row("operator", "its writes, its reads", f"{_written(made)}, {_read(made)}", f"{weighs:.0f} MB"))
    report.append(
        Row(
            "operator",
            f"{REST_S:.0f} s at rest: writes, reads",
            f"{_written(rest)}, {_read(rest)}",
            f"{spent:.1f} s of CPU",
        )
    )
    report.append(
        Row(
            "operator",
            "two started anew, until the one that leads is calm",
            f"{back:.0f} s",
            f"{back_cost:.0f} s of CPU",
        )
    )
    report.append(Row("operator", "its writes, its reads", f"{_written(again)}, {_read(again)}", aim="changes nothing"))
    assert len(doors) == SERVICES
    assert all(service.get("status", {}).get("conditions") for service in told)
    assert _written(rest) == 0, rest
    assert _read(rest) <= 2 * (SERVICES + BUILDS) * AT_A_LOOK
    assert spent <= REST_S / 2, "half a core"
    assert kube.versions() == versions
    assert _written(again) <= SERVICES * CHILDREN, again
    assert min(looks) == 0, "one leads, and the other one does nothing"
    assert sum(again.values()) <= max(looks) * AT_A_LOOK


def _written(calls: Counter[str]) -> int:
    return sum(calls[verb] for verb in WRITES)


def _read(calls: Counter[str]) -> int:
    return sum(calls.values()) - _written(calls)


def _of_both(ports: Iterable[int]) -> Counter[str]:
    return sum((_calls(port) for port in ports), Counter())


def _cpu_s(pid: int) -> float:
    """Seconds that the process has computed, in the kernel too."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _calm(calls: Callable[[], Counter[str]], there: Callable[[], bool]) -> Counter[str]:
    """What was called until nothing is written any more, once all is there."""
    until(there, 1200)
    before, since = calls(), time.monotonic()
    while time.monotonic() - since < CALM_S:
        time.sleep(1.0)
        now = calls()
        if _written(now) != _written(before):
            since = time.monotonic()
        before = now
    return before


def _calls(port: int) -> Counter[str]:
    """Of the operator to the API server, by verb, as it counts them itself; none while it starts."""
    counted: Counter[str] = Counter()
    for sample in _samples(port, "longtake_operator_api_calls_total"):
        counted[sample.labels["verb"]] += int(sample.value)
    return counted


def _looks(port: int) -> int:
    """At services and builds, by the same."""
    return sum(int(sample.value) for sample in _samples(port, "longtake_operator_reconciliations_total"))


def _samples(port: int, name: str) -> list[Sample]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            page = answer.read().decode()
    except OSError:
        return []
    return [one for family in text_string_to_metric_families(page) for one in family.samples if one.name == name]
