"""Whether and when a call that was not taken is sent again, and where a watch goes on. Decisions only: both forms send
and sleep by themselves.

Not taken is what met UNAVAILABLE, and RESOURCE_EXHAUSTED where only too many calls of one tenant came at once. Any
other bound, a quota or a full queue, is the caller's to decide on.
"""

from __future__ import annotations

import random
import time

import grpc

from serving.client import calls
from serving.client.calls import Call
from serving.client.errors import CallFailed, DeadlineExceeded, ResourceExhausted, Unavailable
from serving.gen.longtake.v1.videos_pb2 import Video, WatchVideoResponse

ENDED = frozenset({Video.SUCCEEDED, Video.FAILED, Video.CANCELLED, Video.EXPIRED})
"""States that a video does not leave."""
_FIRST_S = 0.2
_LONGEST_S = 5.0
_PATIENCE_S = 10.0
"""A server that asks to come back later than this is not waited for: the caller decides."""
_CROWDED = "TOO_MANY_AT_ONCE"


def pause_s(failures: int) -> float:
    """Seconds before the next try after so many failed ones: doubled each time, up to 5, less up to a half by chance,
    so that clients of one lost server do not come back all at once.
    """
    longest = min(_FIRST_S * 2.0 ** min(failures - 1, 10), _LONGEST_S)
    return longest * (1 - random.random() / 2)  # noqa: S311  (no secret)


def _not_taken(failure: CallFailed) -> bool:
    """Whether the same call may well be taken in a moment."""
    crowded = isinstance(failure, ResourceExhausted) and failure.reason == _CROWDED
    return crowded or isinstance(failure, Unavailable)


def _pause_of(failure: CallFailed, failures: int) -> float:
    """Seconds to wait: what the server asked for and up to a half more by chance, as above; or our own pause."""
    if failure.retry_after_s:
        return failure.retry_after_s * (1 + random.random() / 2)  # noqa: S311  (no secret)
    return pause_s(failures)


class Attempts:
    """The tries of one call, within one deadline."""

    def __init__(self, *, repeatable: bool, retries: int, timeout_s: float) -> None:
        self._left = retries if repeatable else 0
        self._failures = 0
        self._deadline = time.monotonic() + timeout_s

    def left_s(self) -> float:
        """What remains of the deadline, for the next try."""
        return max(0.0, self._deadline - time.monotonic())

    def pause_after(self, failure: CallFailed) -> float:
        """Seconds to wait before the next try. Raises the failure where there is none."""
        if not _not_taken(failure) or not self._left or (failure.retry_after_s or 0) > _PATIENCE_S:
            raise failure
        self._left -= 1
        self._failures += 1
        pause = _pause_of(failure, self._failures)
        if pause > self.left_s():
            raise failure
        return pause


class Following:
    """Where a watch stands. It goes on from its cursor for as long as it takes; only the first connection must come
    about within the usual retries.
    """

    def __init__(self, video: str, *, cursor: str, previews: bool, timeout_s: float | None, retries: int) -> None:
        self._video = video
        self._cursor = cursor
        self._previews = previews
        self._retries = retries
        self._failures = 0
        self._deadline = None if timeout_s is None else time.monotonic() + timeout_s
        self.ended = False
        """Whether the last event has been seen."""

    def call(self) -> Call[WatchVideoResponse]:
        """From the cursor on."""
        return calls.watch(self._video, self._cursor, previews=self._previews)

    def left_s(self) -> float | None:
        """What remains of the deadline; None without one."""
        return None if self._deadline is None else max(0.0, self._deadline - time.monotonic())

    def saw(self, event: WatchVideoResponse) -> bool:
        """Note an event before it is handed on. True for the last one: the stream's own end is not waited for."""
        self._cursor = event.cursor
        self._failures = 0
        self.ended = event.HasField("video") and event.video.state in ENDED
        return self.ended

    def finished(self) -> None:
        """The server ended the stream by itself: nothing is to come after the cursor."""
        self.ended = True

    def pause_after(self, lost: CallFailed) -> float:
        """Seconds to wait before the stream is opened again. Raises the failure where it must not be, and
        `DeadlineExceeded`.
        """
        self._failures += 1
        if not _not_taken(lost) or (not self._cursor and self._failures > self._retries):
            raise lost
        pause = min(_pause_of(lost, self._failures), _PATIENCE_S)
        left = self.left_s()
        if left == 0.0:
            raise DeadlineExceeded(grpc.StatusCode.DEADLINE_EXCEEDED, f"time is up, and {lost}") from lost
        return pause if left is None else min(pause, left)
