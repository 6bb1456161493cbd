"""What reads bytes or texts of strangers, each as a function of bytes. `__main__.py` makes bytes up for them.

A target may raise nothing: what its reader raises on purpose is caught here, by name. The seeds are what a coverage-led
fuzzer begins from; each goes through its reader.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from serving.errors import InvalidArgument, LongtakeError, PermissionDenied, SettingsError
from serving.frontdoor.content.ranges import Unsatisfiable, names_etag, wanted_range
from serving.frontdoor.content.urls import UrlSigner
from serving.frontdoor.create.mentions import check_mentions
from serving.frontdoor.edge.keys_file import read_keys
from serving.frontdoor.edge.requests import Reader
from serving.frontdoor.edge.wire import has_more_fields
from serving.frontdoor.follow.watch import _Position
from serving.frontdoor.surfaces.longtake.videos import draft_of
from serving.frontdoor.surfaces.xai.files import _Listing
from serving.frontdoor.surfaces.xai.filter import parse_filter
from serving.gen.longtake.v1.videos_pb2 import CreateVideoRequest, Extension, Media
from serving.gen.xai.api.v1.files_pb2 import ListFilesRequest
from serving.media import data_url, pictures
from serving.media.boxes import boxes
from serving.media.sniffing import content_type_of
from serving.media.virtual import read_signed_box, signed_box
from serving.paging import decode_token, encode_token, opaque, position_in
from serving.settings import load_settings

VIDEO = f"vid_{'a' * 26}"
DIGEST = hashlib.sha256().hexdigest()
KEY = b"k" * 32
NOW_MS = 1_800_000_000_000
CREATE = CreateVideoRequest(
    prompt="<ref1> moves right",
    seconds=2,
    references=[Media(url="data:image/png;base64,AAAA"), Media(file_id=f"file_{'a' * 26}")],
    extends=Extension(video_id=VIDEO, segment=DIGEST),
)


@dataclass(frozen=True)
class Target:
    """One reader, and what it reads without complaint."""

    read: Callable[[bytes], None]
    seeds: tuple[bytes, ...]


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")


def data_urls(data: bytes) -> None:
    url = _text(data)
    if data_url.is_data_url(url):
        with contextlib.suppress(InvalidArgument):
            assert len(data_url.bytes_of(url, "f", 1000)) <= 1000


def sniffing(data: bytes) -> None:
    kind, _, _ = content_type_of(data).partition("/")
    assert kind in ("image", "video", "application", "audio", "text")


def png_chunks(data: bytes) -> None:
    """Everything but texts and profiles stays, in order."""
    kept = b"".join(pictures._without_texts(pictures._PNG + data))
    assert len(kept) <= len(data) + len(pictures._PNG)


def mp4_boxes(data: bytes) -> None:
    with contextlib.suppress(ValueError):
        for box in boxes(data):
            box.encode()


def signed_boxes(data: bytes) -> None:
    """Nobody who has not the key makes one."""
    found = read_signed_box(data, KEY)
    assert found is None or signed_box(found.video, found.manifest, KEY) in data


def requests(data: bytes) -> None:
    """As a create goes through the front door, up to where media are looked at."""
    too_many = has_more_fields(data, CreateVideoRequest.DESCRIPTOR, 1000)
    reader = Reader(CreateVideoRequest)
    with contextlib.suppress(LongtakeError):
        request = reader.checked(reader.parse(data))
        assert not too_many or len(data) > 1000
        check_mentions(draft_of(request, idempotency_key=""))


def cursors(data: bytes) -> None:
    for token in (_text(data), opaque_of(data)):
        with contextlib.suppress(InvalidArgument):
            found = _Position.parse(token, VIDEO)
            assert found.segments >= 0
            assert _Position.parse(found.token(), VIDEO) == found


def opaque_of(data: bytes) -> str:
    """A token with any text in it."""
    return opaque(data.decode("ascii", "ignore"))


def page_tokens(data: bytes) -> None:
    for token in (_text(data), opaque_of(data), encode_token(data.decode("ascii", "ignore"), "videos")):
        for read in (decode_token, position_in):
            with contextlib.suppress(InvalidArgument):
                read(token, "videos")
        with contextlib.suppress(InvalidArgument):
            _Listing.of(ListFilesRequest()).read_token(token)


def filters(data: bytes) -> None:
    with contextlib.suppress(InvalidArgument):
        parse_filter(_text(data))


def ranges(data: bytes) -> None:
    for size in (0, 1, 1000):
        with contextlib.suppress(Unsatisfiable):
            found = wanted_range(size, range_header=data.decode("latin-1"), if_range=None, etag='"e"')
            assert found is None or 0 <= found.start < found.stop <= size
    names_etag(data.decode("latin-1"), '"e"')


def media_urls(data: bytes) -> None:
    url = _text(data)
    signer().recognise(url)
    path, _, query = url.partition("?")
    with contextlib.suppress(PermissionDenied):
        signer().check(path, dict(one.partition("=")[::2] for one in query.split("&")), NOW_MS)


@cache
def signer() -> UrlSigner:
    """Of an installation whose secret is known here alone."""
    return UrlSigner("5" * 64, public_url="http://127.0.0.1:8080", ttl_s=3600)


def keys_files(data: bytes) -> None:
    path = scratch() / "keys.jsonl"
    path.write_bytes(data)
    found = read_keys(path)
    assert len(found.keys) + len(found.damaged) == sum(bool(line.strip()) for line in data.split(b"\n"))
    list(found.complaints())


def toml_files(data: bytes) -> None:
    path = scratch() / "longtake.toml"
    path.write_bytes(data)
    os.environ["LONGTAKE_CONFIG"] = str(path)
    try:
        with contextlib.suppress(SettingsError):
            load_settings()
    finally:
        del os.environ["LONGTAKE_CONFIG"]


@cache
def scratch() -> Path:
    """A folder for files that are read again and again."""
    return Path(tempfile.mkdtemp(prefix="longtake-fuzz-"))


_KEY_LINE = {"id": "key-1", "tenant": "a", "name": "n", "sha256": DIGEST, "created": "2026-01-01T00:00:00Z"}
_FILTER = b'size_bytes > 1 AND NOT (name = "a" OR created_at < "2026-01-01T00:00:00Z")'
TARGETS: dict[str, Target] = {
    "data_urls": Target(data_urls, (b"data:image/png;base64,AAAA", b" DATA:;base64,QQ%3D%3D", b"data:,x")),
    "sniffing": Target(
        sniffing, (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0", b"RIFF\0\0\0\0WEBP", b"\0\0\0\x18ftypisom")
    ),
    "png_chunks": Target(png_chunks, (b"\0\0\0\x02tEXtab\0\0\0\0", b"\0\0\0\0IEND\xaeB`\x82")),
    "mp4_boxes": Target(mp4_boxes, (b"\0\0\0\x08free", b"\0\0\0\x01mdat\0\0\0\0\0\0\0\x10", b"\0\0\0\0moov")),
    "signed_boxes": Target(signed_boxes, (signed_box(VIDEO, DIGEST, KEY), signed_box(VIDEO, DIGEST, b"other"))),
    "requests": Target(requests, (CREATE.SerializeToString(), b"\x62\x00" * 10)),
    "cursors": Target(cursors, (_Position(VIDEO).token().encode(), f"{VIDEO}:1:2:3:denoising".encode(), b"1:2:3:")),
    "page_tokens": Target(
        page_tokens, (encode_token("a-b", "videos").encode(), b'[0,false,"e3b0c44298fc",Infinity,"x"]', b"12")
    ),
    "filters": Target(filters, (_FILTER, b"NOT NOT (", b'"\\')),
    "ranges": Target(ranges, (b"bytes=0-1", b"bytes=-5", b"bytes=1-2,4-", b'W/"e", "e", *')),
    "media_urls": Target(media_urls, (signer().video_url("a", VIDEO, NOW_MS).url.encode(), b"/f/file_a/x?t=&token=")),
    "keys_files": Target(keys_files, (json.dumps(_KEY_LINE).encode(), b"{\n\n\xff")),
    "toml_files": Target(
        toml_files, (b'model = "sprite-1"\n[grpc]\naddress = "127.0.0.1:1"\n', b"[stages]\nslots = 0\n")
    ),
}
