"""A store behind the S3 API (MinIO, SeaweedFS, AWS S3 and others): the only file that imports minio.

minio's own `put_object` cannot carry a condition: it turns `If-None-Match` into user metadata and overwrites. So a
conditional PUT goes through a presigned PUT URL that is made and used in here and never handed out, with the condition
as a header beside it. An answer that leaves the outcome open (time-out, 409, 412, 5xx) is settled by reading back.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
import random
import re
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TypeVar
from urllib.parse import parse_qsl, urlsplit
from xml.etree.ElementTree import ParseError

import certifi
import urllib3
from minio import Minio
from minio.commonconfig import REPLACE, CopySource
from minio.error import MinioException, S3Error

from serving.errors import Conflict, LongtakeError, NotFound, StoreUnfit, Unavailable
from serving.store.base import Listed, Versioned

_THREADS = 32
_PAGE = 1000
_TRIES = 4
_PRESIGN = timedelta(minutes=10)
_CONNECT_S, _READ_S = 5.0, 20.0
_REFUSED = frozenset({400, 401, 403, 405, 411, 413, 501})
"""Answers to a conditional PUT that no second try changes."""
_MISSING = frozenset({"NoSuchKey", "NoSuchObject"})
_PASSING = frozenset(
    {"RequestTimeout", "BadDigest", "IncompleteBody", "SlowDown", "TooManyRequests", "ThrottlingException"}
)
"""Error codes that a second try may not meet, whatever status they come with."""
_TOO_MANY = 429
_NO_BUCKET = "NoSuchBucket"

T = TypeVar("T")


@dataclass(frozen=True)
class S3Location:
    """Where a store is: `s3://host:port/bucket/prefix?secure=false&region=us-east-1`."""

    endpoint: str
    bucket: str
    prefix: str
    secure: bool
    region: str

    @classmethod
    def parse(cls, url: str) -> S3Location:
        """Raises `StoreUnfit` naming what is wrong."""
        parts = urlsplit(url)
        bucket, _, prefix = parts.path.lstrip("/").partition("/")
        options = dict(parse_qsl(parts.query))
        unknown = set(options) - {"secure", "region"}
        if not parts.netloc or not bucket or unknown or "@" in parts.netloc:
            raise StoreUnfit(
                f"store {url!r}: write s3://host:port/bucket/prefix?secure=false&region=us-east-1; "
                "keys come from LONGTAKE_S3_ACCESS_KEY and LONGTAKE_S3_SECRET_KEY"
            )
        return cls(
            endpoint=parts.netloc,
            bucket=bucket,
            prefix=f"{prefix.strip('/')}/" if prefix.strip("/") else "",
            secure=options.get("secure", "true").lower() != "false",
            region=options.get("region", "us-east-1"),
        )


async def open_s3(url: str) -> S3Store:
    """Connect, and make the bucket if it is not there. Raises `StoreUnfit`."""
    store = S3Store(S3Location.parse(url), url)
    await store.open()
    return store


class S3Store:
    """See the module. Safe for many tasks at once; calls run on a thread pool."""

    def __init__(self, location: S3Location, url: str) -> None:
        self.url = url
        self._bucket = location.bucket
        self._prefix = location.prefix
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="s3")
        self._http = urllib3.PoolManager(
            num_pools=4,
            maxsize=_THREADS,
            timeout=urllib3.Timeout(connect=_CONNECT_S, read=_READ_S),
            retries=False,
            cert_reqs="CERT_REQUIRED",
            ca_certs=os.environ.get("SSL_CERT_FILE") or certifi.where(),
        )
        self._client = Minio(
            location.endpoint,
            access_key=_credential("ACCESS_KEY", "AWS_ACCESS_KEY_ID"),
            secret_key=_credential("SECRET_KEY", "AWS_SECRET_ACCESS_KEY"),
            secure=location.secure,
            region=location.region,
            http_client=self._http,
        )

    async def open(self) -> None:
        """Make sure of the bucket. Raises `StoreUnfit`."""
        try:
            # With patience: a server that starts beside us answers 503 for a moment.
            await self._retried(self._ensure_bucket, self._bucket)
        except LongtakeError as error:
            raise StoreUnfit(f"store {self.url} cannot be used: {error.__cause__ or error}") from error

    async def get(self, key: str) -> Versioned:
        return await self._retried(partial(self._get, key), key)

    async def get_range(self, key: str, start: int, length: int) -> bytes:
        return await self._retried(partial(self._get_range, key, start, length), key)

    async def put_if_absent(self, key: str, data: bytes | Path) -> bool:
        status, _ = await self._conditional_put(key, data, {"If-None-Match": "*"})
        if status == 404:  # a create needs nothing but the bucket
            raise self._bucket_gone()
        return status == 200

    async def swap(self, key: str, data: bytes, expected: str) -> str:
        status, version = await self._conditional_put(key, data, {"If-Match": f'"{expected}"'})
        if status == 404:
            raise NotFound(f"no object {key}")
        if status == 412:
            raise Conflict(f"{key} was changed by another writer")
        return version

    async def list(self, prefix: str, *, after: str = "", limit: int | None = None) -> AsyncIterator[Listed]:
        # Each page is a listing of its own: a generator that has failed once would look like the end of the list.
        left = limit
        while left is None or left > 0:
            take = _PAGE if left is None else min(_PAGE, left)
            page = await self._retried(partial(self._list_page, prefix, after, take), prefix)
            for entry in page:
                yield entry
            if len(page) < take:
                return
            after = page[-1].key
            left = None if left is None else left - len(page)

    async def stat(self, key: str) -> Listed | None:
        try:
            return await self._retried(partial(self._stat, key), key)
        except NotFound:
            return None

    async def touch(self, key: str) -> None:
        # S3 has no touch: an object that is copied onto itself, with its metadata written anew, becomes young.
        await self._retried(partial(self._copy_onto_itself, self._prefix + key), key)

    async def delete(self, key: str) -> None:
        await self._retried(partial(self._client.remove_object, self._bucket, self._prefix + key), key)

    async def close(self) -> None:
        """End the threads and connections."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._http.clear()

    def _ensure_bucket(self) -> None:
        if not self._client.bucket_exists(self._bucket):
            try:
                self._client.make_bucket(self._bucket)
            except S3Error as error:
                if error.code not in ("BucketAlreadyOwnedByYou", "BucketAlreadyExists"):
                    raise

    def _copy_onto_itself(self, name: str) -> None:
        source = CopySource(self._bucket, name)
        try:
            self._client.copy_object(self._bucket, name, source, metadata={"touched": "1"}, metadata_directive=REPLACE)
        except ValueError as error:  # a copy that begins well, and fails then, has its error in an answer of 200
            raise MinioException("the copy was begun and not finished") from error

    def _get(self, key: str) -> Versioned:
        response = self._client.get_object(self._bucket, self._prefix + key)
        try:
            return Versioned(response.read(), response.headers["ETag"].strip('"'))
        finally:
            response.close()
            response.release_conn()

    def _get_range(self, key: str, start: int, length: int) -> bytes:
        if length == 0:
            return b""
        try:
            response = self._client.get_object(self._bucket, self._prefix + key, offset=start, length=length)
        except S3Error as error:
            if error.code == "InvalidRange":
                return b""
            raise
        try:
            return bytes(response.read())
        finally:
            response.close()
            response.release_conn()

    def _stat(self, key: str) -> Listed:
        found = self._client.stat_object(self._bucket, self._prefix + key)
        return Listed(key, found.size or 0, _milliseconds(found.last_modified))

    def _list_page(self, prefix: str, after: str, count: int) -> tuple[Listed, ...]:
        start_after = self._prefix + after if after else None
        found = self._client.list_objects(
            self._bucket, prefix=self._prefix + prefix, recursive=True, start_after=start_after
        )
        return tuple(
            Listed(str(entry.object_name)[len(self._prefix) :], entry.size or 0, _milliseconds(entry.last_modified))
            for entry in islice(found, count)
        )

    async def _conditional_put(self, key: str, data: bytes | Path, condition: dict[str, str]) -> tuple[int, str]:
        """200, 404 or 412, and the new version. Raises `Unavailable` when the store does not answer for good."""
        open_before = False  # an earlier request of ours may have been done
        condition = {**condition, "Content-MD5": await asyncio.to_thread(_md5, data)}
        for attempt in range(_TRIES):
            if attempt:
                await _pause(attempt)
            try:
                status, version = await self._run(partial(self._put, key, data, condition))
            except (urllib3.exceptions.HTTPError, OSError):
                status, version = 0, ""
            if status in (200, 404):
                return status, version
            if status == 412 and attempt == 0 and "If-None-Match" in condition:
                # Nothing of ours came before, and a create that a proxy sent twice left our own bytes: no need to
                # read a blob back.
                return status, ""
            # The outcome is open: an earlier request of ours, or a proxy's second sending, may have succeeded.
            written = await self._wrote(key, data)
            if written is not None:
                return 200, written
            if status == 412 and not open_before:
                return status, ""
            if status == 412:
                break  # ours may have been there, and overtaken
            open_before = open_before or status not in (409, 412)
        raise Unavailable(f"the store {self.url} does not answer; nothing is known of {key}", retry_after_s=5)

    def _put(self, key: str, data: bytes | Path, condition: dict[str, str]) -> tuple[int, str]:
        url = self._client.presigned_put_object(self._bucket, self._prefix + key, _PRESIGN)
        if isinstance(data, Path):
            with data.open("rb") as body:
                headers = {**condition, "Content-Length": str(data.stat().st_size)}
                response = self._http.request("PUT", url, body=body, headers=headers)
        else:
            response = self._http.request("PUT", url, body=data, headers=condition)
        status = response.status
        code = _error_code(response.data) if status >= 400 else ""
        if code == _NO_BUCKET:
            raise self._bucket_gone()
        if status in _REFUSED and code not in _PASSING:
            raise StoreUnfit(f"store {self.url} refused a write with HTTP {status}: check keys and bucket policy")
        return (200 if status in (200, 201, 204) else status), response.headers.get("ETag", "").strip('"')

    def _bucket_gone(self) -> StoreUnfit:
        return StoreUnfit(f"store {self.url}: the bucket is gone; make it again, or name another with `store`")

    async def _wrote(self, key: str, data: bytes | Path) -> str | None:
        """The version, if the object holds exactly our bytes (records carry a nonce, blobs are named by digest)."""
        try:
            there = await self.get(key)
        except NotFound:
            return None
        ours = data if isinstance(data, bytes) else await asyncio.to_thread(data.read_bytes)
        same = hashlib.sha256(there.data).digest() == hashlib.sha256(ours).digest()
        return there.version if same else None

    async def _retried(self, call: Callable[[], T], key: str) -> T:
        """Run an idempotent call, again after a fault. Raises `NotFound`, `Unavailable`, `StoreUnfit`."""
        for attempt in range(_TRIES):
            if attempt:
                await _pause(attempt)
            try:
                return await self._run(call)
            except S3Error as error:
                if error.code in _MISSING:
                    raise NotFound(f"no object {key}") from error
                if error.code == _NO_BUCKET:
                    raise self._bucket_gone() from error
                status = error.response.status
                if status < 500 and status != _TOO_MANY and error.code not in _PASSING:
                    raise StoreUnfit(f"store {self.url}: {error.code}: {error.message}") from error
                last: Exception = error
            except (MinioException, urllib3.exceptions.HTTPError, OSError, ParseError) as error:
                last = error  # the last one: an answer of 200 that was cut, or that a proxy made
        raise Unavailable(f"the store {self.url} does not answer", retry_after_s=5) from last

    async def _run(self, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, call)


def _error_code(body: bytes) -> str:
    """Of an S3 error's XML; empty where it is something else's."""
    found = re.search(rb"<Code>([A-Za-z]{1,64})</Code>", body[:4096])
    return found[1].decode() if found else ""


def _md5(data: bytes | Path) -> str:
    """For Content-MD5: without it SeaweedFS takes a request whose body never came for an empty object."""
    if isinstance(data, bytes):
        digest = hashlib.md5(data, usedforsecurity=False)
    else:
        with data.open("rb") as file:
            digest = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False))
    return base64.b64encode(digest.digest()).decode()


async def _pause(attempt: int) -> None:
    """Back off, with jitter: 0.1, 0.2, 0.4 s and half as much again at most."""
    await asyncio.sleep(0.05 * 2**attempt * (1 + random.random() / 2))  # noqa: S311  (no secret)


def _milliseconds(moment: datetime | None) -> int | None:
    return None if moment is None else round(moment.timestamp() * 1000)


def _credential(name: str, fallback: str) -> str:
    value = os.environ.get(f"LONGTAKE_S3_{name}") or os.environ.get(fallback)
    if not value:
        raise StoreUnfit(f"an s3:// store needs LONGTAKE_S3_{name} (or {fallback}) in the environment")
    return value
