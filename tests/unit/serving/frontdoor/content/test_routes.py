"""Media over HTTP, through the real routes: who is let in, and what comes with the bytes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette

from serving.files.repository import Files
from serving.frontdoor.content.films import Films
from serving.frontdoor.content.routes import Content
from serving.frontdoor.content.urls import UrlSigner
from serving.frontdoor.edge.metrics import PrometheusRecorder
from serving.frontdoor.follow.records import RecordCache, Records
from serving.jobs.record import JobRecord, JobState
from serving.jobs.repository import Jobs
from serving.requests import Kind
from serving.store.base import Store
from serving.store.blobs import Blobs
from tests.unit.serving.conftest import Clock
from tests.unit.serving.frontdoor.builders import record as build_record
from tests.unit.serving.frontdoor.builders import request as build_request
from tests.unit.serving.frontdoor.content.film_builders import finished

pytestmark = pytest.mark.anyio
TENANT = "default"


@dataclass
class Door:
    """The HTTP side of a front door."""

    http: httpx.AsyncClient
    signer: UrlSigner
    cache: RecordCache
    files: Files
    metrics: PrometheusRecorder

    def know(self, record: JobRecord) -> JobRecord:
        """As if it had been read from the store."""
        self.cache.put(record)
        return record


@pytest.fixture
async def door(store: Store, clock: Clock) -> AsyncIterator[Door]:
    signer = UrlSigner("5e" * 32, public_url="http://door", ttl_s=3600)
    metrics = PrometheusRecorder()
    cache = RecordCache(clock=clock.seconds)
    records = Records(Jobs(store), cache, metrics)
    films = Films(store, records, signer)
    files = Files(store, films, now_ms=clock.now_ms, max_bytes=10**6)
    content = Content(
        store,
        signer=signer,
        records=records,
        films=films,
        files=files,
        metrics=metrics,
        now_ms=clock.now_ms,
    )
    transport = httpx.ASGITransport(Starlette(routes=content.routes()))
    async with httpx.AsyncClient(transport=transport, base_url="http://door") as http:
        yield Door(http, signer, cache, files, metrics)


async def test_a_url_serves_its_video_until_it_expires(door: Door, store: Store, clock: Clock) -> None:
    record = door.know((await finished(store, 2))[0])
    url = door.signer.video_url(TENANT, record.id, clock.now_ms())

    answer = await door.http.get(url.url)

    assert answer.status_code == 200
    assert int(answer.headers["content-length"]) == len(answer.content)
    assert answer.headers["cache-control"] == f"private, max-age={(url.expires_ms - clock.ms) // 1000}"
    clock.pass_s(3700)
    late = await door.http.get(url.url)
    assert (late.status_code, late.headers["content-type"]) == (403, "text/plain; charset=utf-8")
    assert "expired" in late.text
    assert late.headers["cache-control"] == "no-store"


async def test_a_url_without_its_parameters_opens_nothing(door: Door, store: Store, clock: Clock) -> None:
    record = door.know((await finished(store, 1))[0])
    url = door.signer.video_url(TENANT, record.id, clock.now_ms()).url

    assert (await door.http.get(url.partition("?")[0])).status_code == 403
    assert (await door.http.get(url.replace("/v/", "/t/").replace(".mp4", ".png"))).status_code == 403
    assert (await door.http.post(url)).status_code == 405


async def test_head_tells_what_get_would(door: Door, store: Store, clock: Clock) -> None:
    record = door.know((await finished(store, 2))[0])
    url = door.signer.video_url(TENANT, record.id, clock.now_ms()).url

    head, whole = await door.http.head(url), await door.http.get(url)
    part = await door.http.head(url, headers={"Range": "bytes=5-9"})

    assert head.content == b""
    for name in ("content-length", "etag", "content-type", "accept-ranges"):
        assert head.headers[name] == whole.headers[name]
    assert (part.status_code, part.headers["content-length"]) == (206, "5")
    assert part.headers["content-range"] == f"bytes 5-9/{len(whole.content)}"


@pytest.mark.parametrize("path", ["/v/vid_a.mp4", "/i/vid_a/0.png", "/t/vid_a.png", "/f/file_a/cat.png"])
async def test_a_page_of_another_origin_may_ask_for_ranges(door: Door, path: str) -> None:
    asks = {
        "Origin": "https://player.example",
        "Access-Control-Request-Method": "GET",
        "Access-Control-Request-Headers": "range,if-range",
    }
    answer = await door.http.options(f"{path}?exp=1&sig=x", headers=asks)
    assert (answer.status_code, answer.content) == (204, b"")
    assert answer.headers["access-control-allow-origin"] == "*"
    assert {"range", "if-range"} <= set(answer.headers["access-control-allow-headers"].lower().split(", "))
    assert "GET" in answer.headers["access-control-allow-methods"]
    assert (await door.http.post(path)).status_code == 405


async def test_a_video_that_is_not_finished_is_not_served(door: Door, store: Store, clock: Clock) -> None:
    record = door.know((await finished(store, 1))[0].model_copy(update={"state": JobState.RUNNING}))
    door.cache.vouch()

    video = await door.http.get(door.signer.video_url(TENANT, record.id, clock.now_ms()).url)
    thumbnail = await door.http.get(door.signer.thumbnail_url(TENANT, record.id, clock.now_ms()).url)

    assert (video.status_code, thumbnail.status_code) == (404, 200)
    assert "running" in video.text
    assert thumbnail.content == b"png"


async def test_an_unknown_video_is_not_found(door: Door, clock: Clock) -> None:
    url = door.signer.video_url(TENANT, "vid_" + "z" * 26, clock.now_ms()).url

    assert (await door.http.get(url)).status_code == 404


async def test_each_image_has_its_own_url(door: Door, store: Store, clock: Clock) -> None:
    blobs = Blobs(store, TENANT)
    digests = (await blobs.put(b"one"), await blobs.put(b"two"))
    asked = build_request(kind=Kind.IMAGE, seconds=0, resolution="1k", images=2)
    record = door.know(build_record(request=asked, state=JobState.SUCCEEDED, images=digests))

    answers = [await door.http.get(door.signer.image_url(TENANT, record.id, n, clock.now_ms()).url) for n in range(3)]
    as_video = await door.http.get(door.signer.video_url(TENANT, record.id, clock.now_ms()).url)

    assert [answer.status_code for answer in answers] == [200, 200, 404]
    assert [answer.content for answer in answers[:2]] == [b"one", b"two"]
    assert answers[0].headers["content-type"] == "image/png"
    assert as_video.status_code == 404


async def test_a_public_file_is_shown_only_if_browsers_show_it_safely(door: Door) -> None:
    async def once(data: bytes) -> AsyncIterator[bytes]:
        yield data

    png, pdf = b"\x89PNG\r\n\x1a\n" + b"x" * 50, b"%PDF-1.7 " + b"x" * 50
    for data, want_kind in ((png, "inline"), (pdf, "attachment")):
        file = await door.files.upload(TENANT, "naïve/file?#.x", once(data))
        file = await door.files.publish(TENANT, file.id)
        assert file.public is not None
        url = door.signer.file_url(TENANT, file.id, file.filename, file.public.token)

        answer = await door.http.get(url, headers={"Range": "bytes=0-3"})

        assert (answer.status_code, answer.content) == (206, data[:4])
        assert answer.headers["content-disposition"] == f"{want_kind}; filename*=UTF-8''na%C3%AFve%2Ffile%3F%23.x"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "sandbox" in answer.headers["content-security-policy"]
        assert answer.headers["cache-control"] == "no-cache"
        assert (await door.http.get(url[:-3] + "xyz")).status_code == 404


async def test_a_store_that_lost_a_segment_is_an_error_without_details(
    door: Door, store: Store, clock: Clock, tmp_path: Path
) -> None:
    record, made = await finished(store, 1)
    door.know(record)
    for path in (tmp_path / "store").rglob(f"*{made[0].digest()}*"):
        path.write_bytes(b"{}")

    answer = await door.http.get(door.signer.video_url(TENANT, record.id, clock.now_ms()).url)

    assert answer.status_code == 503
    assert made[0].digest() not in answer.text


async def test_served_bytes_are_counted(door: Door, store: Store, clock: Clock) -> None:
    record = door.know((await finished(store, 1))[0])

    answer = await door.http.get(door.signer.video_url(TENANT, record.id, clock.now_ms()).url)

    counted = f'longtake_media_bytes_total{{route="video"}} {float(len(answer.content))}'
    assert counted in door.metrics.render().decode()
