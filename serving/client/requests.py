"""Requests as messages: what a create asks for, and the parts of an upload."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from serving.client.errors import Unsendable
from serving.gen.longtake.v1.files_pb2 import UploadFileRequest
from serving.gen.longtake.v1.videos_pb2 import CreateVideoRequest, Extension, Media, Video

PIECE = 1 << 20
"""Bytes of one message of an upload; the server takes 3 MiB at most."""
_LONGEST_NAME = 255
_NO_NAME = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029\ud800-\udfff\"';\\]")
"""Characters that no file's name has on the server."""


def create_request(
    prompt: str = "",
    *,
    negative_prompt: str = "",
    model: str = "",
    kind: Video.Kind.ValueType = Video.KIND_VIDEO,
    seconds: int | None = None,
    aspect_ratio: str = "",
    resolution: str = "",
    codec: str = "",
    seed: int | None = None,
    steps: int | None = None,
    first_frame: Media | None = None,
    references: Sequence[Media] = (),
    extends: Extension | None = None,
    images: int | None = None,
    deadline_s: float | None = None,
    priority: int | None = None,
    ttl_s: float | None = None,
    validate_only: bool = False,
) -> CreateVideoRequest:
    """A create, or what is to be planned, with a fresh `request_id`. What is left out takes the model's default.

    `deadline_s` and `ttl_s` are seconds from now. Sending the same request again gives the same video. With
    `validate_only`, `create` plans it and makes nothing, as `plan` does with any request. Raises `Unsendable`.

    >>> request = create_request("a red bar moves right", seconds=4, aspect_ratio="16:9", seed=7)
    >>> request.seconds
    4
    """
    request = CreateVideoRequest(
        request_id=_request_id(),
        kind=kind,
        first_frame=first_frame,
        references=references,
        extends=extends,
        validate_only=validate_only,
    )
    given = {
        "prompt": prompt,
        "negative_prompt": negative_prompt,
        "model": model,
        "seconds": seconds,
        "aspect_ratio": aspect_ratio,
        "resolution": resolution,
        "codec": codec,
        "seed": seed,
        "steps": steps,
        "images": images,
        "priority": priority,
    }
    for name, value in given.items():
        if value is not None:
            with _named(name, value):
                setattr(request, name, value)
    if deadline_s is not None:
        with _named("deadline_s", deadline_s):
            request.deadline.FromMilliseconds(round((time.time() + deadline_s) * 1000))
    if ttl_s is not None:
        with _named("ttl_s", ttl_s):
            request.ttl.FromMilliseconds(round(ttl_s * 1000))
    return request


@contextmanager
def _named(name: str, value: object) -> Iterator[None]:
    """Raises `Unsendable`, naming the argument, for what its field has no room for."""
    try:
        yield
    except UnicodeEncodeError as error:
        raise Unsendable(f"{name}: it is no text: it holds bytes that are not UTF-8") from error
    except (ValueError, OverflowError) as error:
        raise Unsendable(f"{name}: {value} is more than can be asked for") from error


def resendable(request: CreateVideoRequest) -> CreateVideoRequest:
    """The request under an id, its own or a fresh one: sent twice it makes nothing twice."""
    if request.request_id:
        return request
    named = CreateVideoRequest()
    named.CopyFrom(request)
    named.request_id = _request_id()
    return named


def only_planned(request: CreateVideoRequest) -> CreateVideoRequest:
    """The same, to be planned and not made."""
    planned = CreateVideoRequest()
    planned.CopyFrom(request)
    planned.validate_only = True
    return planned


def named_media(source: str) -> Media | None:
    """A URL or a file id as it is; None where it is a file here, which must be uploaded first."""
    if source.startswith(("http://", "https://", "data:")):
        return Media(url=source)
    if source.startswith("file_") and not Path(source).exists():
        return Media(file_id=source)
    return None


class UploadParts:
    """The messages of an upload: first what it is, then its bytes in pieces. Raises `Unsendable` when it is made."""

    def __init__(self, name: str, file: BinaryIO, expire_after_s: int | None) -> None:
        with _named("expire_after_s", expire_after_s):
            metadata = UploadFileRequest.Metadata(filename=taken_name(name), expire_after_seconds=expire_after_s)
        self._first = UploadFileRequest(metadata=metadata)
        self._file = file
        self.failed: Exception | None = None
        """Why the file could not be read. gRPC does not say: it ends the call in words of its own, or as cancelled."""

    def __iter__(self) -> Iterator[UploadFileRequest]:
        yield self._first
        try:
            while piece := self._file.read(PIECE):
                yield UploadFileRequest(data=piece)
        except Exception as error:
            self.failed = error
            raise


def taken_name(name: str) -> str:
    """A file's name as the server takes it: what no name there may have becomes `_`, and a long one keeps its end."""
    return _NO_NAME.sub("_", name)[-_LONGEST_NAME:]


def _request_id() -> str:
    return secrets.token_hex(16)
