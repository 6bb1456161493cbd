"""What KubeRay holds on to and nobody needs."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from math import inf
from typing import Any

import pytest

from operators.policies.leftovers import OVERDUE_S, look_again_s, needless_cluster, overdue
from operators.policies.world import World
from tests.unit.operators.test_policies import NOW, pod, serving

_WORKER = {"ray.io/cluster": "lt-a", "ray.io/node-type": "worker"}
_HASH = "ray.io/hash-without-replicas-and-workers-to-delete"


def ending(labels: dict[str, str], since_s: float) -> World:
    """With a pod whose grace period ended so long ago."""
    found = pod("lt-a-denoise", labels, ready="False")
    ends = NOW - timedelta(seconds=since_s)
    found["metadata"]["deletionTimestamp"] = ends.strftime("%Y-%m-%dT%H:%M:%SZ")
    return replace(serving(), pods=(*serving().pods, found))


@pytest.mark.parametrize(
    ("labels", "since_s", "named"),
    [
        (_WORKER, -30, []),
        (_WORKER, OVERDUE_S - 1, []),
        (_WORKER, OVERDUE_S + 1, ["lt-a-denoise"]),
        ({}, OVERDUE_S + 1, []),  # a front door: another one is in its place already
    ],
)
def test_a_pod_of_ray_that_its_node_does_not_end_is_overdue(
    labels: dict[str, str], since_s: float, named: list[str]
) -> None:
    assert [one["metadata"]["name"] for one in overdue(ending(labels, since_s))] == named


def test_it_is_looked_at_again_when_a_pod_may_be_overdue() -> None:
    assert look_again_s(serving()) == inf
    assert look_again_s(ending({}, 5)) == inf
    assert look_again_s(ending(_WORKER, 5)) == OVERDUE_S - 5


def clusters(pending: str, **hashes: str) -> World:
    """With RayClusters of these hashes, and one of them to take over."""
    world = serving(ray__status__pendingServiceStatus={"rayClusterName": pending})
    made: tuple[Any, ...] = tuple(
        {"metadata": {"name": f"lt-{name}", "annotations": {_HASH: digest}}} for name, digest in hashes.items()
    )
    return replace(world, clusters=made)


def test_a_cluster_like_the_one_that_serves_is_not_waited_for() -> None:
    assert needless_cluster(clusters("lt-c", a="old", b="new", c="old")) == [
        {"op": "test", "path": "/status/pendingServiceStatus/rayClusterName", "value": "lt-c"},
        {"op": "replace", "path": "/status/pendingServiceStatus", "value": {}},
    ]


@pytest.mark.parametrize(
    ("pending", "hashes"),
    [
        ("lt-b", {"a": "old", "b": "new"}),
        ("lt-b", {"a": "old"}),  # it is about to be made
        ("lt-b", {}),
        ("", {"a": "old"}),
        ("lt-a", {"a": "old"}),  # the first of all
    ],
)
def test_any_other_cluster_may_take_over(pending: str, hashes: dict[str, str]) -> None:
    assert needless_cluster(clusters(pending, **hashes)) == []
