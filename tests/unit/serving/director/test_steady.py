"""A step that is done for ever survives whatever it raises, but for the loss of the epoch."""

from __future__ import annotations

import pytest

from serving.director import steady
from serving.errors import NotFound, StoreUnfit, Unavailable
from serving.jobs.epoch import EpochLost

pytestmark = pytest.mark.anyio


async def test_only_the_loss_of_the_epoch_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steady, "PAUSE_S", 0.0)
    troubles = [
        Unavailable("away", retry_after_s=1),
        StoreUnfit("refused"),
        NotFound("no epoch"),
        ValueError("no JSON"),
        ZeroDivisionError(),
        EpochLost("a newer one"),
    ]
    incidents: list[str] = []

    async def step() -> None:
        raise troubles.pop(0)

    def incident() -> str:
        incidents.append("")
        return f"incident-{len(incidents)}"

    with pytest.raises(EpochLost):
        await steady.steadily("turn", step, incident)

    assert troubles == []
    assert len(incidents) == 3, "one for each fault; a store that is away is none"
