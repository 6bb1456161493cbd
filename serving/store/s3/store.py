"""A store behind the S3 API: the calls themselves. `serving/store/open.py` opens it.

minio's own `put_object` cannot carry a condition: it turns `If-None-Match` into user metadata and overwrites. So a
conditional PUT goes through a presigned PUT URL that is made and used in here and never handed out, with the condition
as a header beside it. An answer that leaves the outcome open (time-out, 409, 412, 5xx) is settled by reading back.
"""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TypeVar
from xml.etree.ElementTree import ParseError

import certifi
import urllib3
from minio import Minio
from minio.commonconfig import REPLACE, CopySource
from minio.error import MinioException, S3Error

from serving.errors import Conflict, LongtakeError, NotFound, StoreMissing, StoreUnfit, Unavailable
from serving.store.base import Listed, Versioned
from serving.store.lanes import THREADS, Lanes
from serving.store.s3.answers import Answer, Refused
from serving.store.s3.credentials import provider_of
from serving.store.s3.location import S3Location
from serving.store.s3.patience import Patience

_PAGE = 1000
_CHUNK = 1 << 20
_PRESIGN = timedelta(minutes=10)
_DELETE_SIGNED_FOR = timedelta(minutes=1)
_CONNECT_S, _READ_S = 5.0, 20.0
_REFUSED = frozenset({301, 302, 307, 308, 400, 401, 403, 405, 411, 413, 501})
"""Answers to a conditional PUT that no second try changes, unless their code says so."""

T = TypeVar("T")


async def open_s3(url: str, *, create: bool) -> S3Store:
    """Connect, and make the bucket if it is not there. Raises `StoreMissing` where none is made, and `StoreUnfit`."""
    store = S3Store(S3Location.parse(url), url)
    await store.open(create=create)
    return store


class S3Store:
    """See the module. Safe for many tasks at once; calls run on a thread pool."""

    def __init__(self, location: S3Location, url: str) -> None:
        self.url = url
        self._bucket = location.bucket
        self._prefix = location.prefix
        self._lanes = Lanes("s3")
        ca_certs = os.environ.get("SSL_CERT_FILE") or certifi.where()
        self._http = urllib3.PoolManager(
            num_pools=4,
            maxsize=THREADS,
            timeout=urllib3.Timeout(connect=_CONNECT_S, read=_READ_S),
            retries=False,
            cert_reqs="CERT_REQUIRED",
            ca_certs=ca_certs,
        )
        self._client = Minio(
            location.endpoint,
            credentials=provider_of(location, ca_certs),
            secure=location.secure,
            region=location.region,
            http_client=self._http,
        )

    async def open(self, *, create: bool) -> None:
        """Make sure of the bucket. Raises `StoreMissing`, `StoreUnfit`."""
        try:
            # With patience: a server that starts beside us answers 503 for a moment.
            there = await self._retried(partial(self._ensure_bucket, create=create), self._bucket)
        except LongtakeError as error:
            why = error if isinstance(error.__cause__, S3Error | Refused) else error.__cause__ or error
            raise StoreUnfit(f"store {self.url} cannot be used: {why}") from error
        if not there:
            raise StoreMissing(f"store {self.url}: there is no bucket {self._bucket!r}, or it is another's")

    async def get(self, key: str) -> Versioned:
        return await self._retried(partial(self._get, key), key)

    async def get_range(self, key: str, start: int, length: int) -> bytes:
        return await self._retried(partial(self._get_range, key, start, length), key)

    async def put_if_absent(self, key: str, data: bytes | Path) -> bool:
        status, _ = await self._conditional_put(key, data, {"If-None-Match": "*"})
        if status == 404:  # a create needs nothing but the bucket
            raise Answer(404, "NoSuchBucket").refusal(self.url)
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

    async def delete(self, key: str, *, by_ms: int | None = None) -> None:
        if by_ms is None:
            await self._retried(partial(self._client.remove_object, self._bucket, self._prefix + key), key)
        else:
            await self._retried(partial(self._delete_by, key, by_ms), key)

    async def close(self) -> None:
        """End the threads and connections."""
        self._lanes.close()
        self._http.clear()

    def _ensure_bucket(self, *, create: bool) -> bool:
        """Whether it is there."""
        if self._client.bucket_exists(self._bucket):
            return True
        if create:
            try:
                self._client.make_bucket(self._bucket)
            except S3Error as error:
                if error.code not in ("BucketAlreadyOwnedByYou", "BucketAlreadyExists"):
                    raise
        return create

    def _delete_by(self, key: str, by_ms: int) -> None:
        """The server keeps the end, by its own clock: from then on the signature has run out."""
        begins = datetime.fromtimestamp(by_ms // 1000, UTC) - _DELETE_SIGNED_FOR
        url = self._client.get_presigned_url(
            "DELETE", self._bucket, self._prefix + key, expires=_DELETE_SIGNED_FOR, request_date=begins
        )
        answer = Answer.of_response(self._http.request("DELETE", url, redirect=False))
        if answer.status >= 300 and not answer.missing:
            raise Refused(answer)

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
        condition = {**condition, "Content-MD5": await self._lanes.run(key, partial(_md5, data))}
        patience = Patience()
        while True:
            try:
                answer = await self._lanes.run(key, partial(self._put, key, data, condition))
            except (urllib3.exceptions.HTTPError, OSError):
                answer = Answer(0)
            if answer.status in (200, 404):
                return answer.status, answer.headers.get("ETag", "").strip('"')
            if answer.status == 412 and patience.first and "If-None-Match" in condition:
                # Nothing of ours came before, and a create that a proxy sent twice left our own bytes: no need to
                # read a blob back.
                return 412, ""
            # The outcome is open: an earlier request of ours, or a proxy's second sending, may have succeeded.
            written = await self._wrote(key, data)
            if written is not None:
                return 200, written
            if answer.status == 412 and not open_before:
                return 412, ""
            if answer.status == 412:
                break  # ours may have been there, and overtaken
            open_before = open_before or answer.status not in (409, 412)
            if not await patience.again(answer.wait_s):
                break
        raise Unavailable(
            f"the store {self.url} does not answer; nothing is known of {key}", retry_after_s=answer.wait_s or 5
        )

    def _put(self, key: str, data: bytes | Path, condition: dict[str, str]) -> Answer:
        """An answer that another try may change, or one of 200, 404, 409 and 412. Raises what no try changes."""
        url = self._client.presigned_put_object(self._bucket, self._prefix + key, _PRESIGN)
        if isinstance(data, Path):
            with data.open("rb") as body:
                headers = {**condition, "Content-Length": str(data.stat().st_size)}
                response = self._http.request("PUT", url, body=body, headers=headers, redirect=False)
        else:
            response = self._http.request("PUT", url, body=data, headers=condition, redirect=False)
        if response.status in (200, 201, 204):
            return Answer(200, headers=response.headers)
        answer = Answer.of_response(response)
        if answer.code == "NoSuchBucket" or (answer.status in _REFUSED and not answer.passing):
            raise answer.refusal(self.url)
        return answer

    async def _wrote(self, key: str, data: bytes | Path) -> str | None:
        """The version, if the object holds exactly our bytes (records carry a nonce, blobs are named by digest)."""
        try:
            return await self._retried(partial(self._version_if_equal, key, data), key)
        except NotFound:
            return None

    def _version_if_equal(self, key: str, data: bytes | Path) -> str | None:
        """Piece by piece: an upload may be larger than the memory that there is for it."""
        size = len(data) if isinstance(data, bytes) else data.stat().st_size
        if self._stat(key).size != size:
            return None
        response = self._client.get_object(self._bucket, self._prefix + key)
        try:
            theirs = hashlib.sha256()
            for piece in response.stream(_CHUNK):
                theirs.update(piece)
            version = response.headers["ETag"].strip('"')
        finally:
            response.close()
            response.release_conn()
        return version if theirs.digest() == _digest(data, "sha256") else None

    async def _retried(self, call: Callable[[], T], key: str) -> T:
        """Run an idempotent call, again after a fault. Raises `NotFound`, `Unavailable`, `StoreUnfit`."""
        patience = Patience()
        while True:
            hint_s: float | None = None
            last: Exception
            try:
                return await self._lanes.run(key, call)
            except (S3Error, Refused) as error:
                answer = error.answer if isinstance(error, Refused) else Answer.of_error(error)
                if answer.missing:
                    raise NotFound(f"no object {key}") from error
                if not answer.passing:
                    raise answer.refusal(self.url) from error
                hint_s, last = answer.wait_s, error
            except (MinioException, urllib3.exceptions.HTTPError, OSError, ParseError) as error:
                last = error  # the last one: an answer of 200 that was cut, or that a proxy made
            if not await patience.again(hint_s):
                raise Unavailable(f"the store {self.url} does not answer", retry_after_s=hint_s or 5) from last


def _md5(data: bytes | Path) -> str:
    """For Content-MD5: without it SeaweedFS takes a request whose body never came for an empty object."""
    return base64.b64encode(_digest(data, "md5")).decode()


def _digest(data: bytes | Path, kind: str) -> bytes:
    if isinstance(data, bytes):
        return hashlib.new(kind, data, usedforsecurity=False).digest()
    with data.open("rb") as file:
        return hashlib.file_digest(file, partial(hashlib.new, kind, usedforsecurity=False)).digest()


def _milliseconds(moment: datetime | None) -> int | None:
    return None if moment is None else round(moment.timestamp() * 1000)
