"""Answers that S3 servers, and what stands before them, are known to give: tried again, or told for what they are."""

from __future__ import annotations

import asyncio
import email.utils
import http.client
import threading
import time
import tracemalloc
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from serving.errors import StoreUnfit, Unavailable
from serving.store import keys
from serving.store.base import Store
from serving.store.lanes import Lane
from serving.store.open import open_store
from serving.store.s3.store import S3Store
from tests import servers
from tests.integration.faulty_s3 import FaultyS3
from tests.servers import S3Server

Use = Callable[[Store], Coroutine[object, object, object]]


def error(code: str) -> bytes:
    return f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>so it is</Message></Error>".encode()


PASSING = {
    "too many requests": (429, error("TooManyRequests")),
    "slow down": (503, error("SlowDown")),
    "the body came too late": (400, error("RequestTimeout")),
    "the body came damaged": (400, error("BadDigest")),
    "half of the body came": (400, error("IncompleteBody")),
    "a proxy's page": (502, b"<html><body>Bad gateway</body></html>"),
}


async def put(store: Store) -> object:
    return await store.put_if_absent("new", b"1")


async def swap(store: Store) -> object:
    return await store.swap("there", b"2", (await store.get("there")).version)


async def get(store: Store) -> object:
    return (await store.get("there")).data


async def listing(store: Store) -> object:
    return [entry.key async for entry in store.list("the")]


async def touch(store: Store) -> object:
    await store.touch("there")
    return None


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """One for all: each test has a folder of its own in the bucket."""
    if servers.program("minio") is None:
        pytest.skip("the program `minio` is not on the PATH")
    with servers.minio_server(tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture
def relay(server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[FaultyS3, str]]:
    """A relay that passes all on but the answers that it is given, and the URL of an empty store behind it."""
    monkeypatch.setenv("LONGTAKE_S3_ACCESS_KEY", servers.ACCESS_KEY)
    monkeypatch.setenv("LONGTAKE_S3_SECRET_KEY", servers.SECRET_KEY)
    port = urlsplit(server.url).port
    assert port is not None
    with FaultyS3(port, seed=0) as faulty:
        faulty.calm = True
        yield faulty, server.url.replace(f":{port}", f":{faulty.port}").replace("/t?", f"/{tmp_path.name}?")


def ask(url: str, use: Use, before: Callable[[], None]) -> object:
    """What the store answers, when `before` has been done just before it is asked."""

    async def run() -> object:
        store = await open_store(url, probe=False)
        try:
            await store.put_if_absent("there", b"1")
            before()
            return await use(store)
        finally:
            await store.close()

    return asyncio.run(run())


@pytest.mark.parametrize("answer", list(PASSING), ids=str)
def test_what_passes_is_tried_again(relay: tuple[FaultyS3, str], answer: str) -> None:
    faulty, url = relay
    once = [PASSING[answer]]
    assert ask(url, put, lambda: faulty.answers.extend(once)) is True
    assert ask(url, get, lambda: faulty.answers.extend(once)) == b"1"
    assert ask(url, listing, lambda: faulty.answers.extend(once)) == ["there"]
    assert not faulty.answers


def test_a_listing_that_was_cut_is_asked_for_again(relay: tuple[FaultyS3, str]) -> None:
    faulty, url = relay
    cut = (200, b"<?xml version='1.0'?><ListBucketResult><Name>bucket</Name><Conte")
    assert ask(url, listing, lambda: faulty.answers.append(cut)) == ["there"]


def test_a_copy_whose_error_comes_in_a_good_answer_is_made_again(relay: tuple[FaultyS3, str]) -> None:
    faulty, url = relay
    ask(url, touch, lambda: faulty.answers.append((200, error("InternalError"))))
    assert not faulty.answers


@pytest.mark.parametrize("use", [put, swap, get, listing], ids=lambda use: use.__name__)
def test_a_bucket_that_is_gone_is_no_object_that_is_gone(relay: tuple[FaultyS3, str], use: Use) -> None:
    """Else a Director would take its epoch for lost, and a client its videos for deleted."""
    faulty, url = relay
    gone = [(404, error("NoSuchBucket"))] * 4
    with pytest.raises(StoreUnfit, match="the bucket is gone"):
        ask(url, use, lambda: faulty.answers.extend(gone))


USES = [put, swap, get, listing]


@pytest.mark.parametrize("use", USES, ids=lambda use: use.__name__)
def test_a_clock_that_is_wrong_is_named(relay: tuple[FaultyS3, str], use: Use) -> None:
    faulty, url = relay
    hour_ago = email.utils.formatdate(time.time() - 3600, usegmt=True)
    refused = [(403, error("RequestTimeTooSkewed"), {"Date": hour_ago})] * 4
    with pytest.raises(Unavailable, match=r"this machine's clock, which is 3[56]\d\d s ahead of its own"):
        ask(url, use, lambda: faulty.answers.extend(refused))
    assert len(faulty.answers) == 3, "no second try helps"


def test_a_clock_that_is_wrong_is_named_when_the_store_is_opened(relay: tuple[FaultyS3, str]) -> None:
    """The first request is a HEAD, and its answer has no body to say why."""
    faulty, url = relay
    faulty.answers.append((403, b"", {"Date": email.utils.formatdate(time.time() + 3600, usegmt=True)}))
    with pytest.raises(StoreUnfit, match="s behind its own"):
        asyncio.run(open_store(url, probe=False))


@pytest.mark.parametrize("use", USES, ids=lambda use: use.__name__)
def test_the_region_of_a_bucket_that_is_elsewhere_is_named(relay: tuple[FaultyS3, str], use: Use) -> None:
    faulty, url = relay
    moved = [(301, error("PermanentRedirect"), {"x-amz-bucket-region": "eu-west-1"})] * 4
    with pytest.raises(StoreUnfit, match="region=eu-west-1"):
        ask(url, use, lambda: faulty.answers.extend(moved))
    assert len(faulty.answers) == 3


@pytest.mark.parametrize("use", USES, ids=lambda use: use.__name__)
@pytest.mark.parametrize(
    "hint", [{"Retry-After": "1"}, {"x-amz-retry-after": "1000"}], ids=lambda hint: next(iter(hint))
)
def test_the_time_that_a_server_asks_for_is_waited(relay: tuple[FaultyS3, str], use: Use, hint: dict[str, str]) -> None:
    faulty, url = relay
    began = 0.0

    def plant() -> None:
        nonlocal began
        began = time.monotonic()
        faulty.answers.append((503, error("SlowDown"), hint))

    ask(url, use, plant)
    assert time.monotonic() - began >= 1.0
    assert not faulty.answers


@pytest.mark.parametrize("use", USES, ids=lambda use: use.__name__)
def test_a_time_that_is_too_long_to_wait_is_handed_on(relay: tuple[FaultyS3, str], use: Use) -> None:
    faulty, url = relay
    with pytest.raises(Unavailable) as told:
        ask(url, use, lambda: faulty.answers.extend([(503, error("SlowDown"), {"Retry-After": "120"})]))
    assert told.value.retry_after_s == 120


def test_an_upload_is_settled_without_being_held_in_memory(relay: tuple[FaultyS3, str], tmp_path: Path) -> None:
    """Its answer is lost: is what lies there ours? Told by size and digest, piece by piece."""
    faulty, url = relay
    upload = tmp_path / "upload"
    with upload.open("wb") as file:
        for number in range(48):
            file.write(bytes([number]) * (1 << 20))

    async def run() -> bool:
        store = await open_store(url.replace(f":{faulty.port}", f":{faulty.upstream}"), probe=False)
        assert await store.put_if_absent("large", upload)  # the earlier request, whose answer nobody saw
        assert isinstance(store, S3Store)
        tracemalloc.start()
        try:
            version = await store._wrote("large", upload)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert version == (await store.get("large")).version
        assert peak < 16 << 20, f"{peak >> 20} MB for an upload of 48 MB"
        with upload.open("r+b") as file:
            file.write(b"another")
        assert await store._wrote("large", upload) is None
        await store.close()
        return True

    assert asyncio.run(run())


class Crawling(FaultyS3):
    """Uploads of blobs are not answered until they may be."""

    def __init__(self, upstream: int) -> None:
        super().__init__(upstream, seed=0)
        self.calm = True
        self.let_go = threading.Event()

    def forward(self, method: str, path: str, headers: dict[str, str], body: bytes) -> http.client.HTTPResponse:
        if method == "PUT" and "/blobs/" in path:
            self.let_go.wait(60)
        return super().forward(method, path, headers, body)


def test_uploads_that_crawl_keep_no_record_and_no_lease_waiting(relay: tuple[FaultyS3, str]) -> None:
    faulty, url = relay
    lease, record = keys.lease("vid_1", 1), keys.job("a", "vid_1")

    async def run(crawling: Crawling) -> None:
        store = await open_store(url.replace(f":{faulty.port}", f":{crawling.port}"), probe=False)
        for key in (lease, record):
            await store.put_if_absent(key, b"1")
        uploads = [
            asyncio.create_task(store.put_if_absent(keys.blob("a", f"{number:064d}"), b"x"))
            for number in range(2 * Lane.LARGE.value)
        ]
        try:
            async with asyncio.timeout(15):  # less than the time that a server has to answer an upload
                assert (await store.get(record)).data == b"1"
                await store.swap(lease, b"2", (await store.get(lease)).version)
            assert not any(upload.done() for upload in uploads)
        finally:
            crawling.let_go.set()
        assert all(await asyncio.gather(*uploads))
        await store.close()

    with Crawling(faulty.upstream) as crawling:
        asyncio.run(run(crawling))
