"""How long a request is tried again."""

from __future__ import annotations

import asyncio
import time

import pytest

from serving.store.s3 import patience
from serving.store.s3.patience import Patience


def test_there_is_an_end_to_tries_and_to_time(monkeypatch: pytest.MonkeyPatch) -> None:
    async def tries(hint_s: float | None) -> int:
        patient, count = Patience(), 1
        while await patient.again(hint_s):
            count += 1
        return count

    assert asyncio.run(tries(None)) == patience.TRIES
    assert asyncio.run(tries(patience.WITHIN_S)) == 1
    monkeypatch.setattr(patience, "WITHIN_S", 0.0)
    assert asyncio.run(tries(None)) == 1


def test_a_server_is_asked_no_sooner_than_it_says() -> None:
    async def run() -> float:
        began = time.monotonic()
        assert await Patience().again(0.3)
        return time.monotonic() - began

    assert asyncio.run(run()) >= 0.3
