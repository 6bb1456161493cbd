"""Lists of EngineBuilds that all looks share."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from operators.of_models import OfModel, OfModels


class Server:
    """What there is, and how often it was listed."""

    def __init__(self) -> None:
        self.there = [build("a", "wan"), build("b", "wan"), build("c", "wan+style"), build("named")]
        self.lists = 0
        self.now = 100.0
        self.takes_s = 0.0
        self.away = False

    def every(self, kind: str, namespace: str) -> list[dict[str, Any]]:
        assert (kind, namespace) == ("EngineBuild", "video")
        self.lists += 1
        time.sleep(self.takes_s)
        if self.away:
            raise OSError("the API server is away")
        return list(self.there)


def build(name: str, model: str = "") -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": {"model": model} if model else {}}


def waits(shared: OfModels, model: str) -> list[str]:
    """The builds that a change waits for."""

    def seek(of_model: OfModel) -> list[str]:
        return [one["metadata"]["name"] for one in of_model("EngineBuild", "video", model)]

    return shared.awaited(seek)


def test_however_many_wait_they_share_a_list() -> None:
    server = Server()
    shared = OfModels(server.every, 0.5, clock=lambda: server.now)
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda _: waits(shared, "wan"), range(100)))
    assert (found, server.lists) == ([["a", "b"]] * 100, 1)
    assert {model: waits(shared, model) for model in ("wan+style", "named")} == {"wan+style": ["c"], "named": ["named"]}
    assert server.lists == 1
    server.now += 0.51
    waits(shared, "wan")
    assert server.lists == 2


def test_nothing_begins_by_a_list_of_before() -> None:
    server = Server()
    shared = OfModels(server.every, 60.0, clock=lambda: server.now)
    assert waits(shared, "wan") == ["a", "b"]
    server.now += 0.01
    server.there.append(build("new", "other"))
    assert waits(shared, "other") == ["new"]
    assert server.lists == 2
    server.there.clear()
    assert waits(shared, "wan") == ["a", "b"], "it waits a little longer than it must"


def test_those_that_begin_at_once_share_one_too() -> None:
    server = Server()
    server.takes_s = 0.1
    shared = OfModels(server.every, 0.5)
    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(lambda _: waits(shared, "none"), range(8))) == [[]] * 8
    assert server.lists <= 3


def test_a_list_that_failed_is_nobodys_answer() -> None:
    server = Server()
    shared = OfModels(server.every, 60.0, clock=lambda: server.now)
    server.away = True
    for _ in range(2):
        with pytest.raises(OSError, match="away"):
            waits(shared, "wan")
    server.away = False
    assert waits(shared, "wan") == ["a", "b"]
