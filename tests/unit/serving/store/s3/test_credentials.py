"""Where the keys of an S3 store come from, and that they are fresh. The STS and the agent are small local servers."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import certifi
import pytest

from serving.errors import StoreUnfit, Unavailable
from serving.store.s3.credentials import provider_of
from serving.store.s3.location import S3Location

LOCATION = S3Location.parse("s3://store.example:9000/bucket?region=eu-west-1")
NAMES = (
    "LONGTAKE_S3_ACCESS_KEY", "LONGTAKE_S3_SECRET_KEY", "LONGTAKE_S3_SESSION_TOKEN", "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_ROLE_ARN", "AWS_PROFILE",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
)  # fmt: skip


class Sts:
    """Gives keys for tokens, and remembers who asked."""

    def __init__(self) -> None:
        self.asked: list[dict[str, str]] = []
        self.lasts_s = 3600.0
        self.status = 200

    def answer(self, path: str) -> tuple[int, bytes]:
        self.asked.append({name: values[0] for name, values in parse_qs(urlsplit(path).query).items()})
        number, ends = len(self.asked), _iso(self.lasts_s)
        keys = f"<AccessKeyId>key-{number}</AccessKeyId><SecretAccessKey>secret</SecretAccessKey>"
        session = f"<SessionToken>session</SessionToken><Expiration>{ends}</Expiration>"
        name = "AssumeRoleWithWebIdentity"
        return self.status, (
            f'<{name}Response xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><{name}Result><Credentials>{keys}{session}'
            f"</Credentials></{name}Result></{name}Response>"
        ).encode()


class Agent(Sts):
    """Gives them as JSON."""

    def answer(self, path: str) -> tuple[int, bytes]:
        self.asked.append({"path": path})
        found = {"AccessKeyId": f"key-{len(self.asked)}", "SecretAccessKey": "secret", "Token": "session"}
        return self.status, json.dumps({**found, "Expiration": _iso(self.lasts_s)}).encode()


def _iso(seconds: float) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


@contextmanager
def served(sts: Sts) -> Iterator[str]:
    """Its URL."""

    class Handler(BaseHTTPRequestHandler):
        def _serve(self) -> None:
            status, body = sts.answer(self.path)
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET = _serve  # noqa: N815  (http.server's names)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An environment that configures nothing."""
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))


def key_of_environment() -> str:
    return provider_of(LOCATION, certifi.where()).retrieve().access_key


def test_the_environment_comes_first_and_own_names_before_all(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(StoreUnfit, match="LONGTAKE_S3_ACCESS_KEY"):
        key_of_environment()
    file = tmp_path / "credentials"
    file.write_text("[default]\naws_access_key_id = of-file\naws_secret_access_key = s\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
    assert key_of_environment() == "of-file"
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "usual")
    with pytest.raises(StoreUnfit, match="AWS_SECRET_ACCESS_KEY in the environment, both"):
        key_of_environment()
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s")
    assert key_of_environment() == "usual"
    monkeypatch.setenv("LONGTAKE_S3_ACCESS_KEY", "own")
    monkeypatch.setenv("LONGTAKE_S3_SECRET_KEY", "s")
    monkeypatch.setenv("LONGTAKE_S3_SESSION_TOKEN", "session")
    found = provider_of(LOCATION, certifi.where()).retrieve()
    assert (found.access_key, found.session_token) == ("own", "session")


def test_a_file_is_read_again_when_it_is_another(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "credentials"
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
    file.write_text("[default]\naws_access_key_id = first\naws_secret_access_key = s\naws_session_token = t\n")
    provider = provider_of(LOCATION, certifi.where())
    assert provider.retrieve().session_token == "t"
    new = tmp_path / "new"
    new.write_text("[default]\naws_access_key_id = other\naws_secret_access_key = s\naws_session_token = u\n")
    new.rename(file)  # as a mounted Secret changes
    assert provider.retrieve().access_key == "other"
    file.write_text("[default]\n")
    with pytest.raises(Unavailable, match="no S3 keys in"):
        provider.retrieve()


def test_a_web_identity_is_changed_for_keys_and_again_before_they_run_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    token, sts = tmp_path / "token", Sts()
    token.write_text("token-1\n")
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(token))
    monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::1:role/longtake")
    with served(sts) as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", url)
        provider = provider_of(LOCATION, certifi.where())
        assert [provider.retrieve().access_key for _ in range(3)] == ["key-1"] * 3
        sts.lasts_s = 5.0  # less than the time that is left to a request
        provider = provider_of(LOCATION, certifi.where())
        assert provider.retrieve().access_key == "key-2"
        token.write_text("token-2\n")
        assert provider.retrieve().access_key == "key-3"
    assert [asked["WebIdentityToken"] for asked in sts.asked] == ["token-1", "token-1", "token-2"]
    assert sts.asked[0]["RoleArn"] == "arn:aws:iam::1:role/longtake"


@pytest.mark.parametrize("status", [400, 403, 503, None])
def test_an_sts_that_gives_no_keys_is_told_without_the_token(
    status: int | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    token, sts = tmp_path / "token", Sts()
    token.write_text("a-secret-token")
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(token))
    with served(sts) as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", url if status else "http://127.0.0.1:1")
        sts.status = status or 200
        with pytest.raises(Unavailable, match=f"HTTP {status}" if status else "gives no S3 keys") as told:
            key_of_environment()
    assert "a-secret-token" not in str(told.value)
    assert told.value.__suppress_context__


def test_a_containers_agent_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    agent = Agent()
    with served(agent) as url:
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{url}/v1/credentials")
        assert key_of_environment() == "key-1"
    assert agent.asked == [{"path": "/v1/credentials"}]


def test_keys_of_the_environment_are_those_of_now(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "old")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s")
    provider = provider_of(LOCATION, certifi.where())
    os.environ["AWS_ACCESS_KEY_ID"] = "new"
    assert provider.retrieve().access_key == "new"
