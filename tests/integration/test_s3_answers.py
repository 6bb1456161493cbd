"""Answers that S3 servers, and what stands before them, are known to give: tried again, or told for what they are."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from serving.errors import StoreUnfit
from serving.store.base import Store
from serving.store.open import open_store
from tests import servers
from tests.integration.faulty_s3 import FaultyS3

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


@pytest.fixture
def relay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[FaultyS3, str]]:
    """A relay that passes all on but the answers that it is given, and the store's URL behind it."""
    if servers.program("minio") is None:
        pytest.skip("the program `minio` is not on the PATH")
    monkeypatch.setenv("LONGTAKE_S3_ACCESS_KEY", servers.ACCESS_KEY)
    monkeypatch.setenv("LONGTAKE_S3_SECRET_KEY", servers.SECRET_KEY)
    with servers.minio_server(tmp_path / "server") as running:
        port = urlsplit(running.url).port
        assert port is not None
        with FaultyS3(port, seed=0) as faulty:
            faulty.calm = True
            yield faulty, running.url.replace(f":{port}", f":{faulty.port}")


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
