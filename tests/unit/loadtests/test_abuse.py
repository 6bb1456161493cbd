"""An attack that hurts nobody, on a front door in this process: what is seen of it."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from loadtests.abuse.attacks import ATTACKS
from loadtests.abuse.server import Server
from loadtests.abuse.watching import watched
from tests.contract.longtake_door import opened, settings_for

pytestmark = pytest.mark.anyio


async def test_memory_and_a_bystanders_calls_are_seen_while_it_lasts(tmp_path: Path) -> None:
    async with opened(settings_for(tmp_path)) as client:
        server = Server(client.door.grpc_address, client.door.http_address, os.getpid())
        seen = await asyncio.to_thread(watched, server, server, ATTACKS["long_url"])
        assert (seen.peak_mb > 10, seen.worst_s > 0, seen.failed) == (True, True, 0)
        gone = Server("127.0.0.1:1", "127.0.0.1:1", os.getpid())
        seen = await asyncio.to_thread(watched, server, gone, ATTACKS["long_url"])
        assert seen.failed > 0


def test_every_attack_says_what_it_does() -> None:
    assert len(ATTACKS) > 10
    assert all(attack.__doc__ for attack in ATTACKS.values())
