"""Files through the public client. `test_xai_files.py` runs it."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from session import fetch, main, refused, settle

MIB = 1024 * 1024


async def life(client: Any) -> dict[str, Any]:
    """Upload in every way, get, read, delete."""
    files = client.files
    big = bytes(range(256)) * (7 * MIB // 256)
    from_bytes = await settle(files.upload(big, filename="big.bin", expires_after=3600))
    from_path = await settle(files.upload(str(Path("cat.png").absolute())))
    from_object = await settle(files.upload(io.BytesIO(b"%PDF-1.7 x"), filename="page.pdf"))
    got = await settle(files.get(from_bytes.id))
    back = await settle(files.content(from_bytes.id))
    deleted = await settle(files.delete(from_object.id))
    return {
        "sizes": [from_bytes.size, from_path.size, from_object.size],
        "names": [from_bytes.filename, from_path.filename, from_object.filename],
        "got_same": got == from_bytes,
        "expires_in": got.expires_at.seconds - got.created_at.seconds,
        "kept": not from_path.HasField("expires_at"),
        "back": back == big,
        "deleted": [deleted.id == from_object.id, deleted.deleted],
        "gone": await refused(lambda: files.get(from_object.id)),
        "gone_twice": await refused(lambda: files.delete(from_object.id)),
        "empty": await refused(lambda: files.upload(b"", filename="empty")),
        "bad_name": await refused(lambda: files.upload(b"x", filename='a"b')),
        "bad_expiry": await refused(lambda: files.upload(b"x", filename="x", expires_after=0)),
        "unknown": await refused(lambda: files.get("file_zzz")),
    }


async def lists(client: Any) -> dict[str, Any]:
    """Orders, pages and filters."""
    files = client.files
    for size, name in ((30, "b.txt"), (10, "c.txt"), (20, "a.txt")):
        await settle(files.upload(b"x" * size, filename=name))

    async def names(**options: Any) -> list[str]:
        return [file.filename for file in (await settle(files.list(**options))).data]

    paged: list[str] = []
    token = None
    while True:
        page = await settle(files.list(limit=2, order="desc", sort_by="filename", pagination_token=token))
        paged += [file.filename for file in page.data]
        if not page.HasField("pagination_token"):
            break
        token = page.pagination_token
    first = await settle(files.list(limit=1, order="asc", sort_by="size"))
    return {
        "default": await names(),
        "newest": await names(order="desc"),
        "by_name": await names(sort_by="filename"),
        "by_size": await names(sort_by="size", order="desc"),
        "paged": paged,
        "filtered": await names(filter='size_bytes > 10 AND NOT name = "b.txt"'),
        "none_public": await names(filter="public_url != null"),
        "wrong_filter": await refused(lambda: files.list(filter="colour = 1")),
        "wrong_token": await refused(lambda: files.list(pagination_token="xyz")),
        "other_order": await refused(lambda: files.list(pagination_token=first.pagination_token)),
        "negative": await refused(lambda: files.list(limit=-1)),
    }


async def public(client: Any) -> dict[str, Any]:
    """Public URLs."""
    files = client.files
    cat = Path("cat.png").read_bytes()
    file = await settle(files.upload(cat, filename="my cat.png"))
    text = await settle(files.upload(b"<script>alert(1)</script>", filename="x.html"))
    made = await settle(files.create_public_url(file.id))
    again = await settle(files.create_public_url(file.id))
    fetched = fetch(made.public_url)
    listed = [one.filename for one in (await settle(files.list(filter="public_url != null"))).data]
    revoked = await settle(files.revoke_public_url(file.id))
    gone = fetch(made.public_url)
    twice = await settle(files.revoke_public_url(file.id))
    anew = await settle(files.create_public_url(file.id, expires_after=7200))
    later = await settle(files.create_public_url(file.id, expires_after=10_800))
    await settle(files.delete(file.id))
    return {
        "same": made.public_url == again.public_url,
        "unending": not made.HasField("expires_at"),
        "fetched": [fetched["status"], fetched["headers"]["content-type"], fetched["body"] == cat],
        "nosniff": fetched["headers"]["x-content-type-options"],
        "listed": listed,
        "revoked": [revoked.revoked, revoked.public_url == made.public_url],
        "gone": gone["status"],
        "twice": twice.revoked,
        "another": anew.public_url != made.public_url,
        "prolonged": [
            later.public_url == anew.public_url,
            later.expires_at.seconds - anew.expires_at.seconds,
        ],
        "after_delete": fetch(anew.public_url)["status"],
        "not_publishable": await refused(lambda: files.create_public_url(text.id)),
    }


if __name__ == "__main__":
    main(life, lists, public)
