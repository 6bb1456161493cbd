"""Files: taken in, listed, given away, deleted; one tenant never sees another's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from serving.errors import Corrupt, FailedPrecondition, InvalidArgument, NotFound, ResourceExhausted, Unavailable
from serving.files.quota import Quota
from serving.files.repository import PIECE, Files
from serving.store import keys
from serving.store.base import Store
from serving.store.blobs import Blobs
from tests.unit.serving.conftest import Clock
from tests.unit.serving.later_version import read as read_record
from tests.unit.serving.later_version import rewrite

pytestmark = pytest.mark.anyio

PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 100
HOUR_S = 3600


class OneFilm:
    """The content of one finished video."""

    async def video_size(self, tenant: str, video: str) -> int:
        if video != "vid_done":
            raise FailedPrecondition(f"{video} is no finished video")
        return 6

    async def video_bytes(self, tenant: str, video: str) -> AsyncIterator[bytes]:
        yield b"abc"
        yield b"def"


@pytest.fixture
def files(store: Store, clock: Clock) -> Files:
    return Files(store, OneFilm(), now_ms=clock.now_ms, max_bytes=3 * PIECE)


async def pieces(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


async def read(files: Files, tenant: str, file_id: str) -> bytes:
    return b"".join([piece async for piece in files.content(await files.get(tenant, file_id))])


async def test_what_was_uploaded_comes_back_byte_by_byte(files: Files) -> None:
    body = PNG + bytes(range(256)) * 2000
    record = await files.upload("a", "cat.png", pieces(body[:10], body[10:PIECE], body[PIECE:]))

    assert record.size == len(body)
    assert record.content_type == "image/png"
    assert await read(files, "a", record.id) == body


async def test_the_content_type_is_what_the_bytes_are_not_what_the_name_says(files: Files) -> None:
    record = await files.upload("a", "cat.png", pieces(b"GIF89a, really"))

    assert record.content_type == "application/octet-stream"


async def test_another_tenants_file_is_not_found(files: Files) -> None:
    record = await files.upload("a", "cat.png", pieces(PNG))

    with pytest.raises(NotFound):
        await files.get("b", record.id)
    with pytest.raises(NotFound):
        await files.delete("b", record.id)


@pytest.mark.parametrize("file_id", ["", "file_x", "../jobs/vid_a", "file_" + "A" * 26])
async def test_ids_that_are_none_never_become_keys(files: Files, file_id: str) -> None:
    with pytest.raises(NotFound):
        await files.get("a", file_id)


async def test_a_deleted_file_is_gone_and_its_bytes_stay_for_requests_that_use_them(files: Files, store: Store) -> None:
    record = await files.upload("a", "cat.png", pieces(PNG))
    await files.delete("a", record.id)

    with pytest.raises(NotFound):
        await files.get("a", record.id)
    assert await files.all("a") == []
    assert record.sha256 is not None
    assert await Blobs(store, "a").get(record.sha256) == PNG


async def test_a_file_expires(files: Files, clock: Clock) -> None:
    record = await files.upload("a", "cat.png", pieces(PNG), expires_after_s=HOUR_S)
    clock.pass_s(HOUR_S - 1)
    await files.get("a", record.id)
    clock.pass_s(1)

    with pytest.raises(NotFound, match="expired"):
        await files.get("a", record.id)


@pytest.mark.parametrize("seconds", [0, 3599, 2_592_001])
async def test_an_expiry_outside_its_bounds_is_refused(files: Files, seconds: int) -> None:
    with pytest.raises(InvalidArgument, match="3600 to 2592000"):
        await files.upload("a", "cat.png", pieces(PNG), expires_after_s=seconds)


@pytest.mark.parametrize("name", ["", "a" * 256, 'a"b', "a\nb", "a;b", "a\\b", "a\u2028b"])
async def test_names_that_headers_would_misread_are_refused(files: Files, name: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        await files.upload("a", name, pieces(PNG))
    assert caught.value.field == "filename"


async def test_a_file_beyond_the_bound_is_refused_while_it_arrives(files: Files) -> None:
    taken = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal taken
        while True:
            taken += 1
            yield bytes(PIECE)

    with pytest.raises(ResourceExhausted, match="larger than"):
        await files.upload("a", "big.bin", endless())
    assert taken == 4
    assert await files.all("a") == []


async def test_an_empty_file_is_refused(files: Files) -> None:
    with pytest.raises(InvalidArgument, match="empty"):
        await files.upload("a", "cat.png", pieces())


async def test_lists_go_from_new_to_old_page_by_page(files: Files, clock: Clock) -> None:
    made = []
    for number in range(5):
        made.append((await files.upload("a", f"{number}.png", pieces(PNG))).id)
        clock.pass_s(1)
    await files.delete("a", made[3])

    first, token = await files.page("a", size=2)
    second, end = await files.page("a", size=2, token=token)

    assert [record.id for record in first + second] == [made[4], made[2], made[1], made[0]]
    assert end == ""
    with pytest.raises(InvalidArgument, match="page_token"):
        await files.page("a", size=2, token="bm9uc2Vuc2U")


async def test_a_public_token_opens_the_file_until_it_is_revoked(files: Files) -> None:
    record = await files.upload("a", "cat.png", pieces(PNG))
    published = await files.publish("a", record.id)
    again = await files.publish("a", record.id)
    assert published.public is not None
    assert published == again

    assert (await files.open_public("a", record.id, published.public.token)).id == record.id
    with pytest.raises(NotFound):
        await files.open_public("a", record.id, "another token")
    assert await files.revoke("a", record.id) is True
    assert await files.revoke("a", record.id) is False
    with pytest.raises(NotFound):
        await files.open_public("a", record.id, published.public.token)


async def test_a_public_token_expires_by_itself_and_a_new_one_can_be_had(files: Files, clock: Clock) -> None:
    record = await files.upload("a", "cat.png", pieces(PNG))
    old = (await files.publish("a", record.id, expires_after_s=HOUR_S)).public
    clock.pass_s(HOUR_S)
    assert old is not None
    with pytest.raises(NotFound):
        await files.open_public("a", record.id, old.token)

    new = (await files.publish("a", record.id)).public

    assert new is not None
    assert new.token != old.token


async def test_only_pictures_videos_and_pdfs_can_be_public(files: Files) -> None:
    record = await files.upload("a", "page.html", pieces(b"<script>alert(1)</script>"))

    with pytest.raises(FailedPrecondition, match="only images, videos and PDFs"):
        await files.publish("a", record.id)


async def test_a_finished_video_is_kept_once_and_reads_as_its_virtual_file(files: Files) -> None:
    kept = await files.keep_video("a", "vid_done", "mine.mp4")
    again = await files.keep_video("a", "vid_done", "other-name.mp4")

    assert again == kept
    assert (kept.video, kept.size, kept.sha256) == ("vid_done", 6, None)
    assert await read(files, "a", kept.id) == b"abcdef"
    assert await files.of_video("a", "vid_other") is None
    with pytest.raises(FailedPrecondition):
        await files.keep_video("a", "vid_running", "x.mp4")


async def test_a_keep_that_was_interrupted_and_asked_for_again_lists_its_file_once(
    files: Files, store: Store, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(_: Store, key: str, data: bytes) -> bool:
        if key.startswith(keys.files_of("a")):
            raise Unavailable("away")
        return await there(key, data)

    there = store.put_if_absent
    with monkeypatch.context() as patched:
        patched.setattr(type(store), "put_if_absent", away)
        with pytest.raises(Unavailable):
            await files.keep_video("a", "vid_done", "mine.mp4")
    clock.pass_s(61)

    kept = await files.keep_video("a", "vid_done", "mine.mp4")

    assert len([entry async for entry in store.list(keys.files_by_time_of("a"))]) == 2
    assert await files.all("a") == [kept]
    first, token = await files.page("a", size=1)
    assert (first, token and (await files.page("a", size=1, token=token))[0]) == ([kept], [])


async def test_bytes_that_changed_in_the_store_are_noticed(files: Files, store: Store) -> None:
    record = await files.upload("a", "cat.png", pieces(PNG))
    key = f"t/a/blobs/{record.sha256}"
    await store.swap(key, PNG[:-1] + b"!", (await store.get(key)).version)

    with pytest.raises(Corrupt):
        await read(files, "a", record.id)


async def test_what_a_later_version_wrote_of_a_file_stays(files: Files, store: Store) -> None:
    record = await files.upload("a", "cat.png", pieces(PNG))
    await rewrite(store, keys.file("a", record.id), mood="calm")

    await files.publish("a", record.id)
    await files.delete("a", record.id)

    after = await read_record(store, keys.file("a", record.id))
    assert (after["deleted"], after["mood"]) == (True, "calm")


async def test_a_tenant_stores_no_more_than_its_quota_however_many_upload_at_once(store: Store, clock: Clock) -> None:
    quota = Quota(store, {"a": 2500, "b": None}.get)
    files = Files(store, OneFilm(), now_ms=clock.now_ms, max_bytes=10**6, quota=quota)
    bodies = [bytes([number]) * 1000 for number in range(6)]
    said = await asyncio.gather(
        *(files.upload("a", "x.bin", pieces(body[:500], body[500:])) for body in bodies), return_exceptions=True
    )
    kept = [one for one in said if not isinstance(one, BaseException)]
    assert len(kept) <= 2
    assert {type(one) for one in said if isinstance(one, BaseException)} == {ResourceExhausted}
    assert sum([entry.size async for entry in store.list(keys.blobs_of("a"))]) <= 2500
    for body in bodies:
        await files.upload("b", "x.bin", pieces(body))


async def test_an_upload_without_room_to_wait_in_says_so(store: Store, clock: Clock, tmp_path: Path) -> None:
    files = Files(store, OneFilm(), now_ms=clock.now_ms, max_bytes=100, spool=tmp_path / "gone")
    with pytest.raises(Unavailable, match=r"cannot keep the upload in .*gone meanwhile") as caught:
        await files.upload("a", "x.bin", pieces(b"x"))
    assert caught.value.retry_after_s == 10
