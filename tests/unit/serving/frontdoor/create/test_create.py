"""The steps of a create: what answers early, what costs a token, what is made, and who is told."""

from __future__ import annotations

import asyncio
import base64
import io
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
from PIL import Image

from engines.families.capabilities import Capabilities
from engines.families.sprite.prompts import roles
from serving.errors import AlreadyExists, InvalidArgument, ResourceExhausted, Unavailable
from serving.frontdoor.create.catalog import Catalog, ServedModel
from serving.frontdoor.create.create import Creator
from serving.frontdoor.create.drafts import Draft, ExtensionDraft, MediaDraft
from serving.frontdoor.edge.auth import Caller
from serving.frontdoor.edge.metrics import PrometheusRecorder
from serving.frontdoor.rooms import build
from serving.jobs.repository import Jobs
from serving.settings import Admission, Settings
from serving.store import keys
from serving.store.base import Store
from serving.store.blobs import Blobs
from tests.unit.serving.conftest import Clock
from tests.unit.serving.frontdoor.builders import CAPABILITIES, DIGEST
from tests.unit.serving.frontdoor.content.film_builders import finished

pytestmark = pytest.mark.anyio
CALLER = Caller(tenant="default", api_key_id="key_1", name="test")


@dataclass
class Door:
    """The creator of a front door without servers."""

    creator: Creator
    jobs: Jobs
    clock: Clock
    metrics: PrometheusRecorder

    async def create(self, *, resent: bool = False, **fields: Any) -> str:
        """The id of the job."""
        draft = Draft(**{"prompt": "a red circle", "seconds": 1, **fields})
        return (await self.creator.create(CALLER, draft, resent=resent)).record.id

    async def waiting(self) -> int:
        """Jobs in the store."""
        return len([entry async for entry in self.jobs.active()])

    def counted(self, line: str) -> bool:
        return line in self.metrics.render().decode()


@pytest.fixture
def opened(store: Store) -> Callable[..., Any]:
    async def build_door(can: Capabilities = CAPABILITIES, **admission: Any) -> Door:
        clock, metrics = Clock(), PrometheusRecorder()
        settings = Settings(store=store.url, model=can.model, admission=Admission(**admission))
        catalog = Catalog([ServedModel(can, DIGEST, roles)], default=can.model)
        address = "127.0.0.1:1"
        rooms = await build(settings, store, catalog, http_address=address, metrics=metrics, now_ms=clock.now_ms)
        return Door(rooms.creator, rooms.jobs, clock, metrics)

    return build_door


async def test_a_new_job_is_durable_and_counted_before_its_id_is_told(opened: Callable[..., Any]) -> None:
    door = await opened()
    made = await door.create()
    stored = await door.jobs.get("default", made)
    assert (stored.version, stored.api_key_id, stored.predicted is not None) == (1, "key_1", True)
    assert door.counted('longtake_jobs_created_total{kind="video",source="new"} 1.0')


async def test_a_known_key_is_answered_without_a_token(opened: Callable[..., Any]) -> None:
    door = await opened(creates_per_minute=1)
    first = await door.create(request_id="one")
    assert await door.create(request_id="one") == first
    assert await door.waiting() == 1
    assert door.counted('longtake_creates_repeated_total{by="request_id"} 1.0')
    with pytest.raises(ResourceExhausted):
        await door.create(request_id="two")


async def test_a_known_key_in_other_words_is_the_same_job(opened: Callable[..., Any]) -> None:
    door = await opened(creates_per_minute=1)
    buffer = io.BytesIO()
    Image.new("RGB", (40, 40), (200, 30, 30)).save(buffer, "PNG")
    url = f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
    by_url, by_bytes = MediaDraft("first_frame", url=url), MediaDraft("first_frame", data=buffer.getvalue())
    first = await door.create(request_id="one", first_frame=by_url)
    assert await door.create(request_id="one", first_frame=by_bytes) == first


async def test_a_known_key_is_answered_when_its_deadline_has_passed(opened: Callable[..., Any]) -> None:
    door = await opened()
    due = door.clock.ms + 1_000_000
    first = await door.create(request_id="one", deadline_ms=due)
    door.clock.ms = due + 1
    assert await door.create(request_id="one", deadline_ms=due, steps=CAPABILITIES.steps.default) == first


async def test_a_known_key_for_another_request_names_what_differs_and_leaves_nothing(
    opened: Callable[..., Any],
) -> None:
    door = await opened()
    await door.create(request_id="one")
    with pytest.raises(AlreadyExists, match="differ in: prompt"):
        await door.create(request_id="one", prompt="a blue square")
    assert await door.waiting() == 1
    assert door.counted('longtake_jobs_refused_total{reason="ALREADY_EXISTS"} 1.0')


async def test_a_resent_create_is_its_job_for_a_minute_and_takes_no_token(opened: Callable[..., Any]) -> None:
    door = await opened(creates_per_minute=1)
    first = await door.create()
    assert await door.create(resent=True) == first
    with pytest.raises(ResourceExhausted):
        await door.create(resent=True, prompt="a blue square")
    assert door.counted('longtake_creates_repeated_total{by="retry_mark"} 1.0')


async def test_what_is_only_planned_takes_a_token_and_makes_no_job(opened: Callable[..., Any]) -> None:
    door = await opened(creates_per_minute=1)
    assert (await door.creator.planned(CALLER, Draft(prompt="x"))).record.id == ""
    with pytest.raises(ResourceExhausted):
        await door.creator.planned(CALLER, Draft(prompt="x"))
    assert await door.waiting() == 0


async def test_a_server_that_shuts_down_takes_nothing_in(opened: Callable[..., Any]) -> None:
    door = await opened()
    door.creator.drain()
    with pytest.raises(Unavailable, match="shutting down"):
        await door.create()
    assert await door.waiting() == 0


async def test_a_burst_of_creates_does_not_pass_the_bound_together(opened: Callable[..., Any]) -> None:
    door = await opened(max_active_jobs=3)
    asked = await asyncio.gather(*(door.create() for _ in range(20)), return_exceptions=True)
    refused = [one for one in asked if isinstance(one, ResourceExhausted)]
    assert (len(refused), await door.waiting()) == (17, 3)
    assert all("3 is the most" in one.message for one in refused)


async def test_a_create_that_fails_leaves_its_place_free(opened: Callable[..., Any]) -> None:
    door = await opened(max_active_jobs=1)
    with pytest.raises(InvalidArgument):
        await door.create(first_frame=MediaDraft("first_frame", data=b"no picture"))
    await door.creator.planned(CALLER, Draft(prompt="x"))
    assert await door.create()


async def test_what_is_marked_as_resent_costs_tokens_too_before_its_media_are_looked_at(
    opened: Callable[..., Any],
) -> None:
    door = await opened(creates_per_minute=1)
    bad = MediaDraft("first_frame", data=b"no picture")
    with pytest.raises(InvalidArgument):
        await door.create(resent=True, first_frame=bad)
    with pytest.raises(ResourceExhausted):
        await door.create(resent=True, first_frame=bad)


async def test_a_tenant_that_has_all_that_it_may_store_makes_nothing_more(
    opened: Callable[..., Any], store: Store
) -> None:
    await Blobs(store, "default").put(b"x" * 100)
    door = await opened(max_stored_bytes=100)
    with pytest.raises(ResourceExhausted, match="you have 100 bytes in the store, and 100 are the most") as caught:
        await door.create()
    assert (caught.value.reason, caught.value.retry_after_s is not None) == ("STORAGE_FULL", True)
    unseen = MediaDraft("first_frame", data=b"no picture")
    with pytest.raises(ResourceExhausted):
        await door.create(first_frame=unseen)
    with pytest.raises(ResourceExhausted):
        await door.creator.planned(CALLER, Draft(prompt="x", first_frame=unseen))


@pytest.mark.parametrize("way", ["planned", "created", "resent", "known key"])
async def test_a_picture_is_not_stored_for_a_tenant_that_has_no_room_for_it(
    opened: Callable[..., Any], store: Store, way: str
) -> None:
    door = await opened(max_stored_bytes=1000)
    await door.create(request_id="one")
    await Blobs(store, "default").put(b"x" * 1000)
    buffer = io.BytesIO()
    Image.effect_noise((64, 64), 80).save(buffer, "PNG")
    picture = MediaDraft("first_frame", data=buffer.getvalue())
    asked = {
        "planned": lambda: door.creator.planned(CALLER, Draft(prompt="x", first_frame=picture)),
        "created": lambda: door.create(first_frame=picture),
        "resent": lambda: door.create(first_frame=picture, resent=True),
        "known key": lambda: door.create(first_frame=picture, request_id="one"),
    }
    with pytest.raises(ResourceExhausted, match="1000 are the most"):
        await asked[way]()
    assert [entry.size async for entry in store.list(keys.blobs_of("default"))] == [1000]


async def test_a_tenant_without_room_is_answered_again_with_the_job_of_a_picture_that_it_has(
    opened: Callable[..., Any], store: Store
) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (40, 40), (200, 30, 30)).save(buffer, "PNG")
    door = await opened(max_stored_bytes=1000)
    picture = MediaDraft("first_frame", data=buffer.getvalue())
    first = await door.create(first_frame=picture)
    await Blobs(store, "default").put(b"x" * 1000)
    full = await opened(max_stored_bytes=1000)
    assert await full.create(resent=True, first_frame=picture) == first


async def test_a_url_longer_than_any_is_refused_unread(opened: Callable[..., Any]) -> None:
    door = await opened()
    url = f"http://x/v/vid_{'a' * 26}.mp4?" + "a=1&" * 3000
    with pytest.raises(InvalidArgument, match="8192 are the most"):
        await door.create(first_frame=MediaDraft("first_frame", url=url))


async def test_a_scene_is_cropped_to_the_video_and_a_subject_to_what_the_model_sees(opened: Callable[..., Any]) -> None:
    door = await opened()
    buffer = io.BytesIO()
    Image.new("RGB", (112, 64), (200, 30, 30)).save(buffer, "PNG")
    picture = MediaDraft("references[0]", data=buffer.getvalue())

    async def told(prompt: str) -> list[str]:
        draft = Draft(prompt=prompt, references=(picture,), aspect_ratio="16:9")
        return list((await door.creator.planned(CALLER, draft)).record.warnings)

    assert await told("a red bar in the <scene>") == []
    assert await told("<ref1> moves") == ["references[0] (112x64) is cropped by 43% to fit 32x32"]


async def test_an_extension_is_not_like_what_its_parent_was_not_or_what_it_names_itself(
    opened: Callable[..., Any], store: Store
) -> None:
    door = await opened(replace(CAPABILITIES, negative_prompt=True))
    parent, _ = await finished(store, 1)
    asked = parent.request.model_copy(update={"negative_prompt": "blurred"})
    await door.jobs.create(parent.model_copy(update={"request": asked}))

    async def kept(negative: str) -> str:
        made = await door.create(negative_prompt=negative, extends=ExtensionDraft(video_id=parent.id))
        found: str = (await door.jobs.get("default", made)).request.negative_prompt
        return found

    assert (await kept(""), await kept("dark"), await kept(" ")) == ("blurred", "dark", " ")
    assert (await door.jobs.get("default", await door.create())).request.negative_prompt == ""


async def test_a_picture_without_a_place_is_refused_with_what_to_write(opened: Callable[..., Any]) -> None:
    door = await opened()
    with pytest.raises(InvalidArgument, match=r"^prompt: it names a scene's picture, and no reference is given$"):
        await door.create(prompt="a red bar in the <scene>")
