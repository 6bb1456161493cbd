"""When a call is sent again, and when it is given up."""

from __future__ import annotations

from collections.abc import Callable

import grpc
import pytest

from serving.client.attempts import Attempts, Following, pause_s
from serving.client.errors import DeadlineExceeded, NotFound, ResourceExhausted, Unavailable
from serving.gen.longtake.v1.videos_pb2 import Video, WatchVideoResponse


def away(retry_after_s: float | None = None) -> Unavailable:
    return Unavailable(grpc.StatusCode.UNAVAILABLE, "away", retry_after_s=retry_after_s)


def crowded(retry_after_s: float | None = None) -> ResourceExhausted:
    code = grpc.StatusCode.RESOURCE_EXHAUSTED
    return ResourceExhausted(code, "too many", reason="TOO_MANY_AT_ONCE", retry_after_s=retry_after_s)


def attempts(*, repeatable: bool = True, retries: int = 2, timeout_s: float = 60.0) -> Attempts:
    return Attempts(repeatable=repeatable, retries=retries, timeout_s=timeout_s)


def following(*, cursor: str = "", timeout_s: float | None = None, retries: int = 1) -> Following:
    return Following("vid_x", cursor=cursor, previews=False, timeout_s=timeout_s, retries=retries)


def test_pauses_grow_to_five_seconds_and_differ() -> None:
    for failures, longest in ((1, 0.2), (2, 0.4), (5, 3.2), (10, 5.0), (10_000, 5.0)):
        found = [pause_s(failures) for _ in range(50)]
        assert longest / 2 <= min(found) <= max(found) <= longest
        assert len(set(found)) > 1


def test_a_call_is_sent_again_as_often_as_the_retries_say() -> None:
    tries = attempts(retries=2)
    assert tries.pause_after(away()) < tries.pause_after(away()) * 2
    with pytest.raises(Unavailable):
        tries.pause_after(away())


@pytest.mark.parametrize(
    "failure",
    [
        NotFound(grpc.StatusCode.NOT_FOUND, "x"),
        ResourceExhausted(grpc.StatusCode.RESOURCE_EXHAUSTED, "full"),
        ResourceExhausted(grpc.StatusCode.RESOURCE_EXHAUSTED, "x", reason="QUEUE_FULL", retry_after_s=1),
    ],
    ids=["not found", "full", "another bound"],
)
def test_what_the_server_decided_is_not_asked_again(failure: NotFound | ResourceExhausted) -> None:
    with pytest.raises(type(failure)):
        attempts().pause_after(failure)


def test_a_call_that_would_do_more_the_second_time_is_sent_once() -> None:
    with pytest.raises(Unavailable):
        attempts(repeatable=False).pause_after(away())


@pytest.mark.parametrize("refused", [away, crowded])
def test_the_servers_own_time_to_come_back_is_kept_within_reason(
    refused: Callable[[float | None], Unavailable | ResourceExhausted],
) -> None:
    found = [attempts().pause_after(refused(2.5)) for _ in range(50)]
    assert 2.5 <= min(found) < max(found) <= 3.75
    assert 0 < attempts().pause_after(refused(None)) <= 0.2
    for tries, asks in ((attempts(), 60.0), (attempts(timeout_s=1.0), 2.5), (attempts(repeatable=False), 0.1)):
        with pytest.raises((Unavailable, ResourceExhausted)):
            tries.pause_after(refused(asks))


def test_a_crowd_is_waited_out_as_often_as_the_retries_say() -> None:
    tries, watch = attempts(retries=2), following(retries=2)
    for _ in range(2):
        tries.pause_after(crowded(0.1))
        assert 0.1 <= watch.pause_after(crowded(0.1)) <= 0.15
    for one in (tries, watch):
        with pytest.raises(ResourceExhausted):
            one.pause_after(crowded(0.1))


def test_a_watch_that_began_is_opened_again_from_its_cursor_for_ever() -> None:
    watch = following()
    watch.saw(WatchVideoResponse(cursor="c1", video=Video(state=Video.RUNNING)))
    assert all(watch.pause_after(away()) <= 5.0 for _ in range(100))
    assert "c1" in str(watch.call().request)
    assert not watch.ended


def test_a_watch_that_never_began_is_given_up_after_the_retries() -> None:
    watch = following(retries=1)
    watch.pause_after(away())
    with pytest.raises(Unavailable):
        watch.pause_after(away())


def test_a_watch_ends_with_the_videos_last_state() -> None:
    watch = following()
    assert not watch.saw(WatchVideoResponse(cursor="c1", video=Video(state=Video.RUNNING)))
    assert watch.saw(WatchVideoResponse(cursor="c2", video=Video(state=Video.FAILED)))
    assert watch.ended


def test_a_watch_pauses_no_longer_than_it_has_time() -> None:
    watch = following(cursor="c", timeout_s=0.15)
    assert all(0 < watch.pause_after(away()) <= 0.15 for _ in range(10))
    with pytest.raises(DeadlineExceeded, match="away"):
        following(cursor="c", timeout_s=0.0).pause_after(away())
