"""Images are waited for, so a call that is sent again may be older than a minute."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import pytest

from serving.errors import Unavailable
from serving.frontdoor.create.catalog import Catalog, ServedModel
from serving.frontdoor.edge.auth import Caller
from serving.frontdoor.edge.rpc import Call
from serving.frontdoor.rooms import build
from serving.frontdoor.surfaces.xai.image import XaiImage
from serving.frontdoor.surfaces.xai.keep import Keeper
from serving.gen.xai.api.v1 import image_pb2
from serving.jobs.record import JobState
from serving.metrics import Unrecorded
from serving.settings import Settings
from serving.store.base import Store
from tests.unit.serving.conftest import Clock
from tests.unit.serving.frontdoor.builders import CAPABILITIES, DIGEST

pytestmark = pytest.mark.anyio
CALLER = Caller(tenant="default", api_key_id="key_1", name="test")


@dataclass
class _Context:
    """Of a call whose client waits no longer."""

    resent: bool

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        return (("grpc-previous-rpc-attempts", "1"),) if self.resent else ()

    def time_remaining(self) -> float:
        return 0.05


async def test_a_call_that_is_sent_again_after_minutes_waits_for_the_job_that_it_waited_for(store: Store) -> None:
    clock = Clock()
    settings = Settings(store=store.url, model=CAPABILITIES.model)
    catalog = Catalog([ServedModel(CAPABILITIES, DIGEST)], default=CAPABILITIES.model)
    address = "127.0.0.1:1"
    rooms = await build(settings, store, catalog, http_address=address, metrics=Unrecorded(), now_ms=clock.now_ms)
    keeper = Keeper(store, rooms.files, rooms.signer)
    images = XaiImage(rooms.creator, rooms.videos, store, keeper, rooms.signer, clock.now_ms)

    async def ask(*, resent: bool = True) -> list[str]:
        """The jobs that there are then, the newest first."""
        with pytest.raises(Unavailable, match="still on their way"):
            await images.GenerateImage(
                image_pb2.GenerateImageRequest(prompt="a cat"), Call(CALLER, cast(Any, _Context(resent)))
            )
        return [record.id for record in (await rooms.jobs.list("default", limit=10)).records]

    (first,) = await ask(resent=False)
    clock.ms += 20 * 60_000
    assert await ask() == [first]

    ended = await rooms.jobs.get("default", first)
    await rooms.jobs.transition(ended, state=JobState.CANCELLED, finished_ms=clock.ms)
    clock.ms += 61_000
    second, _ = await ask()
    assert second != first

    clock.ms += 29 * 60_000
    assert len(await ask()) == 3
