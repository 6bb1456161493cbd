"""One job's life, as the logs of all processes tell it together."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from serving.gen.longtake.v1 import videos_pb2
from tests.integration.house import House, red_square, scene

pytestmark = pytest.mark.ray


def test_the_life_of_a_job_is_what_the_logs_have_of_its_id(house: House) -> None:
    picture = videos_pb2.Media(file_id=house.upload(scene(red_square, 64, 64), "square.png"))
    made = house.made(house.create(seconds=2, references=[picture]))

    told = _of(house, made.id, ends_with="job succeeded")

    assert {line["tenant"] for line in told} == {"default"}
    lives = [(line["service"], line["event"]) for line in told]
    segments = [line["segment"] for line in told if line["event"] == "segment denoised"]
    assert (lives[0], lives[-1]) == (("frontdoor", "accepted"), ("director", "job succeeded"))
    assert segments == [0, 1]
    assert lives.count(("renderer", "segment rendered")) == 2
    once = {("conditioner", "pictures read"), ("prompt_writer", "prompt written")}
    more = {("text_encoder", "caption embedded"), ("conditioner", "conditions gathered")}
    assert once | more | {("denoiser", "segment denoised")} <= set(lives)
    assert all(lives.count(event) == 1 for event in once)
    assert all(line["seconds"] >= 0 and line["model"] == "sprite-2" for line in told if "seconds" in line)


def _of(house: House, job: str, ends_with: str) -> list[dict[str, Any]]:
    ends = time.monotonic() + 20
    while time.monotonic() < ends:
        lines = [json.loads(line) for line in house.log.read_text().splitlines() if job in line]
        if any(line["event"] == ends_with for line in lines):
            return sorted(lines, key=lambda line: str(line["timestamp"]))
        time.sleep(0.2)
    raise TimeoutError(f"no line says {ends_with!r} of {job}")
