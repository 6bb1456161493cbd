"""One list of EngineBuilds for all looks."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from operators.of_models import OfModels


class Server:
    """What there is, and how often it was listed."""

    def __init__(self) -> None:
        self.there = [build("a", "wan"), build("b", "wan"), build("c", "wan+style"), build("named")]
        self.lists = 0
        self.now = 100.0
        self.away = False

    def every(self, kind: str, namespace: str) -> list[dict[str, Any]]:
        assert (kind, namespace) == ("EngineBuild", "video")
        self.lists += 1
        if self.away:
            raise OSError("the API server is away")
        return list(self.there)


def build(name: str, model: str = "") -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": {"model": model} if model else {}}


def names(found: list[dict[str, Any]]) -> list[str]:
    return [one["metadata"]["name"] for one in found]


def test_a_hundred_looks_at_once_are_one_list() -> None:
    server = Server()
    shared = OfModels(server.every, 0.5, clock=lambda: server.now)
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda _: names(shared.find("EngineBuild", "video", "wan")), range(100)))
    assert (found, server.lists) == ([["a", "b"]] * 100, 1)
    asked = {model: names(shared.find("EngineBuild", "video", model)) for model in ("wan+style", "named", "other")}
    assert (asked, server.lists) == ({"wan+style": ["c"], "named": ["named"], "other": []}, 1)


def test_what_was_there_before_a_look_began_to_wait_is_in_it() -> None:
    server = Server()
    shared = OfModels(server.every, 0.5, clock=lambda: server.now)
    shared.find("EngineBuild", "video", "wan")
    server.there.append(build("new", "wan"))
    server.now += 0.51  # as long as the controller waits
    assert names(shared.find("EngineBuild", "video", "wan")) == ["a", "b", "new"]


def test_a_list_that_failed_is_nobodys_answer() -> None:
    server = Server()
    shared = OfModels(server.every, 60.0, clock=lambda: server.now)
    server.away = True
    for _ in range(2):
        with pytest.raises(OSError, match="away"):
            shared.find("EngineBuild", "video", "wan")
    server.away = False
    assert names(shared.find("EngineBuild", "video", "wan")) == ["a", "b"]
