"""Keys of a real server's STS, and keys that change while a store is open."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from minio.credentials.providers import AssumeRoleProvider, StaticProvider
from minio.minioadmin import MinioAdmin

from serving.errors import StoreUnfit
from serving.store.open import open_store
from tests import servers
from tests.servers import S3Server

SECRET = "a-user's-secret"


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Server]:
    """MinIO; nothing in the environment opens it."""
    if servers.program("minio") is None:
        pytest.skip("the program `minio` is not on the PATH")
    for name in ("LONGTAKE_S3_ACCESS_KEY", "LONGTAKE_S3_SECRET_KEY", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name, raising=False)
    with servers.minio_server(tmp_path / "server") as running:
        yield running


def admin_of(server: S3Server) -> MinioAdmin:
    keys = StaticProvider(servers.ACCESS_KEY, servers.SECRET_KEY)
    return MinioAdmin(endpoint=urlsplit(server.url).netloc, credentials=keys, secure=False)


def add_user(server: S3Server, name: str) -> None:
    admin_of(server).user_add(name, SECRET)
    admin_of(server).attach_policy(["readwrite"], user=name)


def test_keys_with_a_session_token_do_all_that_a_store_needs(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    add_user(server, "worker")
    endpoint = f"http://{urlsplit(server.url).netloc}"
    keys = AssumeRoleProvider(sts_endpoint=endpoint, access_key="worker", secret_key=SECRET).retrieve()
    assert keys.session_token
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", keys.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", keys.secret_key)
    with pytest.raises(StoreUnfit, match="cannot be used"):
        asyncio.run(open_store(server.url))
    monkeypatch.setenv("AWS_SESSION_TOKEN", keys.session_token)

    async def run() -> None:
        store = await open_store(server.url)  # the probe creates, swaps, lists, reads and deletes
        await store.put_if_absent("a", b"1")
        await store.touch("a")
        await store.close()

    asyncio.run(run())


def test_keys_of_a_file_may_change_while_the_store_is_open(
    server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "credentials"
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))

    def write(user: str) -> None:
        file.write_text(f"[default]\naws_access_key_id = {user}\naws_secret_access_key = {SECRET}\n")

    async def run() -> None:
        for user in ("old", "newer"):
            await asyncio.to_thread(add_user, server, user)
        write("old")
        store = await open_store(server.url, probe=False)
        await store.put_if_absent("a", b"1")
        await asyncio.to_thread(admin_of(server).user_remove, "old")
        with pytest.raises(StoreUnfit):
            await store.get("a")
        write("newer")
        assert (await store.get("a")).data == b"1"
        await store.close()

    asyncio.run(run())
