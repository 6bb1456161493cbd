"""Results that are kept as files: once, checked, and never at the cost of the result."""

from __future__ import annotations

import asyncio

import pytest

from serving.errors import InvalidArgument, LongtakeError, ResourceExhausted, StoreUnfit, Unavailable
from serving.files.repository import Files
from serving.frontdoor.content.films import Films
from serving.frontdoor.content.urls import UrlSigner
from serving.frontdoor.edge.metrics import PrometheusRecorder
from serving.frontdoor.follow.records import RecordCache, Records
from serving.frontdoor.surfaces.xai.keep import Keeper, KeepOptions, KeepOutcome, read_options
from serving.gen.xai.api.v1 import image_pb2
from serving.jobs.record import JobRecord
from serving.jobs.repository import Jobs
from serving.store import keys
from serving.store.base import Store
from serving.store.blobs import Blobs
from tests.unit.serving.conftest import Clock
from tests.unit.serving.frontdoor.builders import record as build_record
from tests.unit.serving.frontdoor.content.film_builders import finished
from tests.unit.serving.later_version import rewrite

pytestmark = pytest.mark.anyio
TENANT = "default"


class Away:
    """A store that refuses some writes."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.refusals: list[LongtakeError] = []
        """Each is raised once."""

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

    async def put_if_absent(self, key: str, data: bytes) -> bool:
        if self.refusals:
            raise self.refusals.pop()
        return await self._store.put_if_absent(key, data)

    async def swap(self, key: str, data: bytes, version: str) -> str:
        if self.refusals:
            raise self.refusals.pop()
        return await self._store.swap(key, data, version)


def soon(seconds: float) -> float:
    return asyncio.get_running_loop().time() + seconds


class Shelf:
    """A keeper, and the files that it fills."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self.signer = UrlSigner("5e" * 32, public_url="http://door", ttl_s=3600)
        self.cache = RecordCache(clock=clock.seconds)
        films = Films(store, Records(Jobs(store), self.cache, PrometheusRecorder()), self.signer)
        self.away = Away(store)
        self.files = Files(self.away, films, now_ms=clock.now_ms, max_bytes=10**6)  # type: ignore[arg-type]
        self.keeper = Keeper(store, self.files, self.signer)

    async def noted(self, store: Store, options: KeepOptions) -> JobRecord:
        """A finished video that is to be kept."""
        record = (await finished(store, 1))[0]
        self.cache.put(record)
        await self.keeper.note(record, options)
        return record


@pytest.fixture
def shelf(store: Store, clock: Clock) -> Shelf:
    return Shelf(store, clock)


async def test_a_video_that_nobody_asked_to_keep_is_not_kept(shelf: Shelf, store: Store) -> None:
    record = (await finished(store, 1))[0]

    assert await shelf.keeper.keep_video(record) == KeepOutcome()


async def test_a_video_is_kept_once_however_often_it_is_fetched(shelf: Shelf, store: Store, clock: Clock) -> None:
    options = KeepOptions(filename="a.mp4", expires_after_s=7200, public=True, public_expires_after_s=3600)
    record = await shelf.noted(store, options)

    first = await shelf.keeper.keep_video(record)
    clock.pass_s(10)
    second = await shelf.keeper.keep_video(record)

    assert first == second
    output = first.file_output
    assert output is not None
    assert (output.filename, first.storage_error) == ("a.mp4", None)
    assert output.expires_at.seconds == (clock.ms - 10_000) // 1000 + 7200
    assert output.public_url_expires_at.seconds == (clock.ms - 10_000) // 1000 + 3600
    assert [file.id for file in await shelf.files.all(TENANT)] == [output.file_id]


async def test_a_revoked_public_url_does_not_come_back(shelf: Shelf, store: Store) -> None:
    record = await shelf.noted(store, KeepOptions(filename="a.mp4", public=True))
    output = (await shelf.keeper.keep_video(record)).file_output
    assert output is not None

    await shelf.files.revoke(TENANT, output.file_id)

    later = (await shelf.keeper.keep_video(record)).file_output
    assert later is not None
    assert (later.public_url, later.public_url_error) == ("", "the public URL was revoked")


async def test_a_deleted_file_is_an_error_of_storage_alone(shelf: Shelf, store: Store) -> None:
    record = await shelf.noted(store, KeepOptions(filename="a.mp4"))
    output = (await shelf.keeper.keep_video(record)).file_output
    assert output is not None

    await shelf.files.delete(TENANT, output.file_id)

    kept = await shelf.keeper.keep_video(record)
    assert await shelf.files.all(TENANT) == []
    assert kept.file_output is None
    assert kept.storage_error is not None
    assert "deleted" in kept.storage_error


@pytest.mark.parametrize("error", [Unavailable("away"), StoreUnfit("read only"), ResourceExhausted("full")])
async def test_a_poll_while_the_store_is_away_has_no_answer_and_the_next_one_has_the_file(
    shelf: Shelf, store: Store, error: LongtakeError
) -> None:
    record = await shelf.noted(store, KeepOptions(filename="a.mp4"))
    shelf.away.refusals = [error]
    with pytest.raises(type(error)):
        await shelf.keeper.keep_video(record)

    kept = await shelf.keeper.keep_video(record)

    assert kept.file_output is not None
    assert [file.id for file in await shelf.files.all(TENANT)] == [kept.file_output.file_id]


async def test_the_same_of_a_public_url(shelf: Shelf, store: Store) -> None:
    record = await shelf.noted(store, KeepOptions(filename="a.mp4"))
    assert await shelf.keeper.keep_video(record)
    await store.delete(keys.keep_note(TENANT, record.id))
    await shelf.keeper.note(record, KeepOptions(filename="a.mp4", public=True))
    shelf.away.refusals = [Unavailable("away")]
    with pytest.raises(Unavailable):
        await shelf.keeper.keep_video(record)

    output = (await shelf.keeper.keep_video(record)).file_output

    assert output is not None
    assert output.public_url


async def test_an_image_waits_a_little_for_a_store_that_is_away(shelf: Shelf) -> None:
    record = build_record(images=("ab" * 32,))
    shelf.away.refusals = [Unavailable("away")]

    kept = await shelf.keeper.keep_image(record, 0, 8, KeepOptions(filename="a.png"), until=soon(5))

    assert (kept.storage_error, [file.filename for file in await shelf.files.all(TENANT)]) == (None, ["a.png"])


async def test_an_image_goes_without_its_file_in_the_end(shelf: Shelf) -> None:
    record = build_record(images=("ab" * 32,))
    shelf.away.refusals = [Unavailable("away")] * 9

    kept = await shelf.keeper.keep_image(record, 0, 8, KeepOptions(filename="a.png"), until=soon(0.5))

    assert kept == KeepOutcome(storage_error="away")
    assert len(shelf.away.refusals) == 7, "tried twice"


async def test_what_stays_is_not_tried_again(shelf: Shelf) -> None:
    record = build_record(images=("ab" * 32,))
    options = KeepOptions(filename="a.png")
    output = (await shelf.keeper.keep_image(record, 0, 8, options, until=0)).file_output
    assert output is not None
    await shelf.files.delete(TENANT, output.file_id)

    async with asyncio.timeout(5):
        kept = await shelf.keeper.keep_image(record, 0, 8, options, until=soon(60))

    assert kept.storage_error is not None


async def test_several_images_get_numbered_names(shelf: Shelf, store: Store) -> None:
    digest = await Blobs(store, TENANT).put(b"\x89PNG\r\n\x1a\n")
    record = build_record(images=(digest, digest))
    options = KeepOptions(filename="cat.small.png")

    kept = [await shelf.keeper.keep_image(record, number, 8, options, until=0) for number in range(2)]
    again = [await shelf.keeper.keep_image(record, number, 8, options, until=0) for number in range(2)]

    assert kept == again
    assert len(await shelf.files.all(TENANT)) == 2
    assert [one.file_output and one.file_output.filename for one in kept] == [
        "cat.small.png",
        "cat.small-2.png",
    ]


@pytest.mark.parametrize(
    ("options", "want_field"),
    [
        (image_pb2.StorageOptions(), "storage_options.filename"),
        (image_pb2.StorageOptions(filename="a\nb"), "storage_options.filename"),
        (image_pb2.StorageOptions(filename="a", expires_after=0), "storage_options.expires_after"),
        (
            image_pb2.StorageOptions(filename="a", public_url=image_pb2.PublicUrlOptions(expires_after=2_592_001)),
            "storage_options.public_url.expires_after",
        ),
    ],
)
def test_wrong_options_are_refused_before_the_work(options: image_pb2.StorageOptions, want_field: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        read_options(options)
    assert caught.value.field == want_field


async def test_a_note_of_a_later_version_is_left_to_it(shelf: Shelf, store: Store) -> None:
    record = await shelf.noted(store, KeepOptions(filename="a.mp4"))
    await rewrite(store, keys.keep_note(TENANT, record.id), mark="ours")
    assert await shelf.keeper.keep_video(record) == KeepOutcome(
        storage_error="this server does not know mark; one of a later version makes the file"
    )

    await rewrite(store, keys.keep_note(TENANT, record.id), mark=None)
    assert (await shelf.keeper.keep_video(record)).storage_error is None

    await rewrite(store, keys.keep_note(TENANT, record.id), filename=["a.mp4", "b.mp4"])
    assert await shelf.keeper.keep_video(record) == KeepOutcome(
        storage_error="this server cannot read what was asked for; a later version may"
    )
