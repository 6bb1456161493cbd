"""The public client resends a start that it got no answer to, and marks the retry: it is one video, not two."""

from __future__ import annotations

from pathlib import Path

import pytest

from serving.errors import Unavailable
from serving.frontdoor.edge.rpc import Call
from serving.frontdoor.surfaces.xai.video import XaiVideo
from serving.gen.xai.api.v1 import deferred_pb2, video_pb2
from serving.jobs.repository import Jobs
from tests.contract.xai_door import XaiDoor


@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
def test_a_start_whose_answer_was_lost_makes_one_video(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asynchronous: bool
) -> None:
    whole = XaiVideo.GenerateVideo
    marks: list[bool] = []

    async def lossy(
        self: XaiVideo, request: video_pb2.GenerateVideoRequest, call: Call
    ) -> deferred_pb2.StartDeferredResponse:
        marks.append(call.resent)
        answer = await whole(self, request, call)
        if not call.resent:
            raise Unavailable("the answer is lost on its way")
        return answer

    monkeypatch.setattr(XaiVideo, "GenerateVideo", lossy)
    with XaiDoor(tmp_path) as door:
        seen = door.client("retries.py", "twice", asynchronous=asynchronous)
        kept = door.do(Jobs(door.store).list("default", limit=10)).records

    assert marks == [False, True, False, True]
    assert sorted(seen["ids"]) == sorted(record.id for record in kept)
    assert len(set(seen["ids"])) == 2
