"""A variable that is called like a setting and is none is told of; those of others are not."""

from __future__ import annotations

import pytest

from serving.environment import unread


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("LONGTAKE_GRPC_ADDRESS", "did you mean LONGTAKE_GRPC__ADDRESS?"),
        ("LONGTAKE_HTTP_PUBLIC_URL", "did you mean LONGTAKE_HTTP__PUBLIC_URL?"),
        ("LONGTAKE_STOR", "did you mean LONGTAKE_STORE?"),
        ("LONGTAKE_FOO", "`docs/settings.md` has all that there are"),
    ],
)
def test_what_nobody_reads_is_told_of_with_what_was_meant(name: str, advice: str) -> None:
    assert list(unread([name])) == [f"{name} is no setting and is not read: {advice}"]


@pytest.mark.parametrize(
    "name",
    [
        "LONGTAKE_GRPC__ADDRESS",
        "LONGTAKE_MODELS",
        "LONGTAKE_GRPC",
        "LONGTAKE_CONFIG",
        "LONGTAKE_SERVER",
        "LONGTAKE_API_KEY",
        "LONGTAKE_TLS",
        "LONGTAKE_LOG_STREAM",
        "LONGTAKE_S3_SECRET_KEY",
        "LONGTAKE_SERVICE_HOST",
        "LONGTAKE_SERVICE_PORT",
        "LONGTAKE_FRONTDOOR_SERVICE_PORT_GRPC",
        "LONGTAKE_PORT",
        "LONGTAKE_FRONTDOOR_PORT_50051_TCP",
        "LONGTAKE_PORT_50051_TCP_ADDR",
        "PATH",
    ],
)
def test_what_is_read_and_what_kubernetes_says_is_not(name: str) -> None:
    assert not list(unread([name]))
