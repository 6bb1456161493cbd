"""Settings that change while Longtake runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from serving.reloading import changed, leave, reloaded, waiting
from serving.settings import Grpc, ModelSettings, Settings, Stages


def test_a_part_takes_over_what_is_served_and_keeps_all_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What its environment says of models is what they were when it was started."""
    monkeypatch.setenv("LONGTAKE_MODELS", json.dumps({"gone": {}}))
    monkeypatch.setenv("LONGTAKE_STAGES", json.dumps({"scale": {"denoiser": {"min": 0, "max": 2}}}))
    part = Settings(store="/from/the/root")
    assert reloaded(part, tmp_path) is part, "nothing was left yet"

    stages = Stages(replicas={"denoiser": 2})
    leave(
        Settings(store="other", models={"came": ModelSettings(slots=7)}).model_copy(update={"stages": stages}), tmp_path
    )
    now = reloaded(part, tmp_path)

    assert part.served == ("sprite-2", "gone")
    assert (now.served, now.of("came").stages.slots) == (("sprite-2", "gone", "came"), 7)
    assert (now.stages, now.store) == (stages, "/from/the/root")


def test_what_waits_for_the_next_start_is_named() -> None:
    now, read = Settings(), Settings(model="other", grpc=Grpc(address="127.0.0.1:7"))
    assert waiting(now, read) == ["grpc"]
    assert changed(now, read).grpc == now.grpc
    assert changed(now, read).model == "other"
