"""The keys of an S3 store: where they come from, and that they are fresh.

The first of these that is configured is used, and no other:

    LONGTAKE_S3_ACCESS_KEY, _SECRET_KEY, _SESSION_TOKEN      the environment
    AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, …_TOKEN        the environment, by the usual names
    AWS_WEB_IDENTITY_TOKEN_FILE, AWS_ROLE_ARN                a token that Kubernetes renews, changed for keys (IRSA)
    AWS_SHARED_CREDENTIALS_FILE or ~/.aws/credentials        a file; AWS_PROFILE names the section
    AWS_CONTAINER_CREDENTIALS_…                              an agent beside the container (EKS Pod Identity, ECS)
    nothing at all, and the store is at amazonaws.com        the role of the machine (EC2)

minio asks for keys before each request. A file is read again when it has changed; what an STS or an agent gave is asked
for again before it runs out. Nothing that went wrong there is told in the other's words, for they hold the token.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable
from pathlib import Path

import urllib3
from minio.credentials.credentials import Credentials
from minio.credentials.providers import AWSConfigProvider, IamAwsProvider, Provider, WebIdentityProvider

from serving.errors import StoreUnfit, Unavailable
from serving.home import home
from serving.store.s3.location import S3Location

_TIMEOUT_S = 5.0


def provider_of(location: S3Location, ca_certs: str) -> Provider:
    """The one that the environment configures. Raises `StoreUnfit` when there is none."""
    environment = os.environ
    for own in (("LONGTAKE_S3_ACCESS_KEY", "LONGTAKE_S3_SECRET_KEY", "LONGTAKE_S3_SESSION_TOKEN"), _AWS):
        if environment.get(own[0]):
            return _Environment(*own)
    http = urllib3.PoolManager(
        timeout=_TIMEOUT_S, retries=urllib3.Retry(2, backoff_factor=0.2), cert_reqs="CERT_REQUIRED", ca_certs=ca_certs
    )
    if token_file := environment.get("AWS_WEB_IDENTITY_TOKEN_FILE"):
        return _Renewed("the STS", _web_identity(Path(token_file), location.region, http))
    if shared_file().exists():
        return _SharedFile(shared_file())
    if any(name.startswith("AWS_CONTAINER_CREDENTIALS_") for name in environment):
        return _Renewed("the container's credentials agent", IamAwsProvider(http_client=http))
    if location.endpoint.partition(":")[0].endswith((".amazonaws.com", ".amazonaws.com.cn")):
        return _Renewed("the machine's metadata service", IamAwsProvider(http_client=http))
    raise StoreUnfit(
        "an s3:// store needs LONGTAKE_S3_ACCESS_KEY and LONGTAKE_S3_SECRET_KEY (or AWS_ACCESS_KEY_ID and "
        "AWS_SECRET_ACCESS_KEY) in the environment, a web identity, or a file of AWS credentials"
    )


_AWS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")


def shared_file() -> Path:
    """The file of AWS credentials, which need not be there."""
    named = os.environ.get("AWS_SHARED_CREDENTIALS_FILE")
    return Path(named) if named else home() / ".aws" / "credentials"


class _Environment(Provider):
    """Keys of the environment as it is now: a program that embeds the store may change them."""

    def __init__(self, access_key: str, secret_key: str, token: str) -> None:
        self._names = access_key, secret_key, token

    def retrieve(self) -> Credentials:
        access_key, secret_key, token = (os.environ.get(name, "") for name in self._names)
        if not access_key or not secret_key:
            raise StoreUnfit(f"an s3:// store needs {self._names[0]} and {self._names[1]} in the environment, both")
        return Credentials(access_key, secret_key, token or None)


class _SharedFile(Provider):
    """Keys of a file, such as a Secret that is mounted: read again whenever the file is another."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read: tuple[tuple[int, int, int], Credentials] | None = None

    def retrieve(self) -> Credentials:
        try:
            found = self._path.stat()
            form = found.st_ino, found.st_mtime_ns, found.st_size
            read = self._read
            if read is None or read[0] != form:
                read = self._read = form, AWSConfigProvider(str(self._path)).retrieve()
        except (OSError, ValueError) as error:
            raise Unavailable(f"no S3 keys in {self._path}: {error}", retry_after_s=5) from error
        return read[1]


class _Renewed(Provider):
    """Keys that run out; the provider behind asks for new ones in time. One thread asks, the others wait for it."""

    def __init__(self, whose: str, behind: Provider) -> None:
        self._whose = whose
        self._behind = behind
        self._lock = threading.Lock()

    def retrieve(self) -> Credentials:
        try:
            with self._lock:
                return self._behind.retrieve()
        except (OSError, ValueError, KeyError, urllib3.exceptions.HTTPError) as error:
            # What they say holds the request, and the request holds the token.
            status = re.search(r"HTTP status code (\d+)", str(error))
            why = f"HTTP {status[1]}" if status else type(error).__name__
            raise Unavailable(f"{self._whose} gives no S3 keys: {why}", retry_after_s=5) from None


def _web_identity(token_file: Path, region: str, http: urllib3.PoolManager) -> Provider:
    region = os.environ.get("AWS_REGION") or region
    return WebIdentityProvider(
        jwt_provider_func=_token_of(token_file),
        sts_endpoint=os.environ.get("AWS_ENDPOINT_URL_STS") or f"https://sts.{region}.amazonaws.com",
        role_arn=os.environ.get("AWS_ROLE_ARN"),
        role_session_name=os.environ.get("AWS_ROLE_SESSION_NAME") or "longtake",
        http_client=http,
    )


def _token_of(file: Path) -> Callable[[], dict[str, str]]:
    """Reads the file at each use: whoever mounts it writes a new token long before the old one runs out."""
    return lambda: {"access_token": file.read_text().strip(), "expires_in": "0"}
