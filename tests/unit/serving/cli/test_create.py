"""What the commands that make something ask the server for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from typer.testing import CliRunner

from serving.cli import create
from serving.cli.main import build
from serving.gen.longtake.v1.videos_pb2 import CreateVideoRequest, Video


class Asked:
    """A client that plans, and keeps what it was asked for."""

    def __init__(self) -> None:
        self.requests: list[CreateVideoRequest] = []

    def plan(self, request: CreateVideoRequest) -> Video:
        self.requests.append(request)
        return Video()


@pytest.mark.parametrize("command", [["generate", "a cat"], ["extend", "vid_a", "a dog"]])
def test_what_it_shall_not_be_like_is_asked_for(monkeypatch: pytest.MonkeyPatch, command: list[str]) -> None:
    asked = Asked()

    @contextmanager
    def connected(*_: Any, **__: Any) -> Iterator[Asked]:
        yield asked

    monkeypatch.setattr(create, "connected", connected)
    result = CliRunner().invoke(build(), [*command, "--negative-prompt", "blurred", "--plan", "-o", "json"])
    assert result.exit_code == 0, result.output
    assert [request.negative_prompt for request in asked.requests] == ["blurred"]
