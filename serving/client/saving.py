"""The disk side of downloads, the same for both forms: a part beside the target, and the target when it is whole.

    circle.mp4.<tag>.part   →   circle.mp4          video and images, by HTTP range; `tag` names the bytes' ETag
    cat.png.part            →   cat.png             files, by gRPC, from the beginning

A part of HTTP stays when a download fails, and the next one to the same path goes on from it, unless the server has
other bytes by then, or names them by no ETag. One download to one path at a time.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from serving.client.attempts import pause_s
from serving.client.errors import DownloadFailed, NothingToDownload
from serving.gen.longtake.v1.files_pb2 import File
from serving.gen.longtake.v1.videos_pb2 import Video

Progress = Callable[[int, int], None]
"""(bytes that are there, bytes of the whole)."""
_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+)")
_TAGS = "[0-9a-f]" * 16
_GONE = {401, 403, 404, 410}


def url_of(video: Video, number: int) -> str:
    """Where the video is, or its image `number` from 0. Raises `NothingToDownload`."""
    urls = list(video.image_urls) or ([video.url] if video.url else [])
    if not urls:
        raise NothingToDownload(f"{video.id} has nothing to download: it is {_state(video)}")
    if not 0 <= number < len(urls):
        raise NothingToDownload(f"{video.id} has no number {number}: give 0 to {len(urls) - 1}")
    return urls[number]


def image_urls_of(video: Video) -> Sequence[str]:
    """Where the images of an image job are. Raises `NothingToDownload`."""
    if not video.image_urls:
        raise NothingToDownload(f"{video.id} has no images: it is {_state(video)}, of {Video.Kind.Name(video.kind)}")
    return video.image_urls


def _state(video: Video) -> str:
    """In words; while it runs, with how far it is."""
    state = Video.State.Name(video.state).lower()
    return f"{state}, {video.progress.percent} %" if video.state == Video.RUNNING else state


def unsigned(url: str) -> str:
    """A URL for messages, without what would let their readers in."""
    return url.partition("?")[0]


class Unfinished(Exception):
    """A try ended before its time; the next one goes on. It never leaves the client."""


class Changed(Unfinished):
    """What we had is of other bytes: no failure, all of it is asked for now."""


class Download:
    """One download over HTTP, over as many tries as it takes. Each try is: `headers`, `answered`, `write`..., `whole`.

    As a context it closes the part.
    """

    def __init__(self, path: Path, progress: Progress | None, *, retries: int) -> None:
        self._path = path
        self._progress = progress
        self._retries = retries
        self._failures = 0
        parts = sorted(path.parent.glob(f"{_literal(path.name)}.{_TAGS}.part"))
        # Of bytes without a name nobody can tell whether they are still the same.
        self._part = next((part for part in parts if part.name != _part_name(path, {})), None)
        self._done = self._part.stat().st_size if self._part else 0
        self._total = 0
        self._file: BinaryIO | None = None

    def __enter__(self) -> Self:
        """Nothing is opened before the first answer."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the part; it stays for the next download where this one failed."""
        self._close()

    def headers(self) -> dict[str, str]:
        """Of the next request: only what is not there yet."""
        return {"accept-encoding": "identity", **({"range": f"bytes={self._done}-"} if self._done else {})}

    def answered(self, status: int, headers: Mapping[str, str], url: str) -> None:
        """Get ready for the body. Raises `Unfinished` where it must be asked for again, and `DownloadFailed`."""
        where = unsigned(url)
        if status in _GONE:
            raise DownloadFailed(f"{where} answers {status}: it has expired, or what it stood for is deleted; ask anew")
        part = self._path.with_name(_part_name(self._path, headers))
        if status == 200:
            self._forget()
            self._done, self._total = 0, int(headers.get("content-length", 0))
        elif status == 206 and part == self._part and (found := _RANGE.fullmatch(headers.get("content-range", ""))):
            if int(found[1]) != self._done:
                raise DownloadFailed(f"{where} answers from byte {found[1]} and was asked from byte {self._done}")
            self._total = int(found[2])
        elif status in (206, 416) and self._done:  # our part is of other bytes
            self._forget()
            raise Changed(f"{where} has changed")
        else:
            raise Unfinished(f"{where} answers {status}")
        self._part = part
        self._file = part.open("ab" if self._done else "wb")

    def write(self, piece: bytes) -> None:
        """Keep a piece of the body, and tell of it."""
        assert self._file is not None
        self._file.write(piece)
        self._done += len(piece)
        self._failures = 0
        if self._progress is not None:
            self._progress(self._done, self._total)

    def whole(self) -> int:
        """The body has ended: put the file in its place; its bytes. Raises `Unfinished`."""
        self._close()
        if self._part is None or self._done < self._total:
            raise Unfinished(f"{self._done} of {self._total} bytes came")
        self._part.replace(self._path)
        return self._done

    def pause_after(self, error: Exception) -> float:
        """Seconds before the next try. Raises `DownloadFailed` where several in a row brought nothing."""
        self._close()
        if isinstance(error, Changed):
            return 0.0
        self._failures += 1
        if self._failures > self._retries:
            raise DownloadFailed(f"{self._path.name}: {error or type(error).__name__}; what came is kept") from error
        return pause_s(self._failures)

    def _forget(self) -> None:
        if self._part is not None:
            self._part.unlink(missing_ok=True)
        self._part, self._done = None, 0

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


class FilePart:
    """A file of the server as it comes, piece by piece; whole and of the right digest, or not at all."""

    def __init__(self, file: File, path: Path, progress: Progress | None) -> None:
        self._file = file
        self._path = path
        self._progress = progress
        self._part = path.with_name(f"{path.name}.part")
        self._hash = hashlib.sha256()
        self._done = 0

    def __enter__(self) -> Self:
        """Raises `OSError` where the target cannot be written."""
        self._open = self._part.open("wb")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave nothing half done."""
        self._open.close()
        self._part.unlink(missing_ok=True)

    def write(self, piece: bytes) -> None:
        """Keep a piece, and tell of it."""
        self._open.write(piece)
        self._hash.update(piece)
        self._done += len(piece)
        if self._progress is not None:
            self._progress(self._done, self._file.size_bytes)

    def whole(self) -> int:
        """Put it in its place; its bytes. Raises `DownloadFailed` for bytes that are not the file's."""
        self._open.close()
        if self._done != self._file.size_bytes:
            raise DownloadFailed(f"{self._file.id}: {self._done} of {self._file.size_bytes} bytes came; try again")
        if self._file.sha256 and self._file.sha256 != self._hash.hexdigest():
            raise DownloadFailed(f"{self._file.id}: what came is not what was uploaded; try again")
        self._part.replace(self._path)
        return self._done


def _part_name(path: Path, headers: Mapping[str, str]) -> str:
    """Of the part that holds an answer's bytes, until they are whole."""
    return f"{path.name}.{hashlib.sha256(headers.get('etag', '').encode()).hexdigest()[:16]}.part"


def _literal(name: str) -> str:
    """For glob."""
    return re.sub(r"([*?\[])", r"[\1]", name)
