"""The life of a job in words and as a picture."""

from __future__ import annotations

from xml.etree import ElementTree as ET

from google.protobuf.timestamp_pb2 import Timestamp

from serving.cli.life import drawn, lines_of
from serving.gen.longtake.v1 import jobs_pb2, videos_pb2

_SAVED = "from a checkpoint"


def _at(seconds: float) -> Timestamp:
    moment = Timestamp()
    moment.FromMilliseconds(round((1_700_000_000 + seconds) * 1000))
    return moment


def _history() -> jobs_pb2.JobHistory:
    happening, span = jobs_pb2.JobHappening, jobs_pb2.WorkSpan
    return jobs_pb2.JobHistory(
        video=videos_pb2.Video(id="vid_a<b"),
        events=[
            happening(kind="created", time=_at(0)),
            happening(kind="claimed", time=_at(0.1), attempt=1, epoch=3),
            happening(kind="lost", time=_at(2), attempt=1, segment=0, step=6, replica="x1", text="denoiser: killed"),
            happening(kind="resumed", time=_at(3), segment=0, step=4, recomputed=2, replica="x2", text=_SAVED),
            happening(
                kind="committed",
                time=_at(5),
                attempt=2,
                segment=0,
                spans=[
                    span(stage="denoising", start_time=_at(0.2), end_time=_at(4), replica="x2"),
                    span(stage="rendering", start_time=_at(4), end_time=_at(4.8)),
                ],
            ),
            happening(kind="ended", time=_at(5.1), text="succeeded", left_out=7),
        ],
    )


def test_each_event_is_a_sentence_with_its_time() -> None:
    lines = list(lines_of(_history()))
    assert lines[2].split() == ["+0.100", "s", "attempt", "1", "starts,", "by", "Director", "3"]
    assert "attempt 1 lost its worker at step 6 of segment 0 on replica x1: denoiser: killed" in lines[3]
    assert "from a checkpoint, at step 4 of segment 0 on replica x2; 2 steps are done again" in lines[4]
    assert "segment 0 committed (denoising 3.80 s, rendering 0.80 s)" in lines[5]
    assert "7 more" in lines[6]
    assert "ended: succeeded" in lines[7]


def test_why_a_job_waits_is_the_last_line() -> None:
    history = _history()
    history.why = "its model sprite-1 is not served here"
    assert list(lines_of(history))[-1].split(maxsplit=1) == ["now", history.why]
    history.why = "running"
    assert "ended" in list(lines_of(history))[-1]


def test_what_was_predicted_stands_beside_what_happened() -> None:
    history = _history()
    plan = history.video.plan
    plan.predicted_start_time.CopyFrom(_at(0.05))
    plan.predicted_end_time.CopyFrom(_at(2.5))
    plan.engine_seconds["denoiser"] = 1.9
    history.video.start_time.CopyFrom(_at(0.1))
    assert list(lines_of(history))[1:3] == [
        "predicted: start after 0.050 s, end after 2.500 s, 1.900 s of denoising",
        "really:    start after 0.100 s, no end so far, 3.800 s of denoising, 0.800 s of rendering",
    ]
    page = drawn(history)
    svg = ET.fromstring(page[page.index("<svg") : page.index("</svg>") + 6])
    assert [label.text for label in svg.findall("text")] == ["events", "predicted", "denoising", "rendering"]
    outline = svg.find("path")
    assert outline is not None
    assert "2.450 s" in str(outline.findtext("title"))


def test_the_picture_is_one_safe_page_with_a_bar_per_piece_of_work() -> None:
    page = drawn(_history())
    assert "vid_a&lt;b" in page
    assert "<script" not in page
    assert "http" not in page
    svg = ET.fromstring(page[page.index("<svg") : page.index("</svg>") + 6])
    bars = svg.findall("rect")
    assert len(bars) == 2
    assert float(bars[0].get("width", 0)) > 4 * float(bars[1].get("width", 0))
    assert "denoising 3.800 s" in str(bars[0].findtext("title"))


def test_a_job_without_events_is_drawn_too() -> None:
    empty = jobs_pb2.JobHistory(video=videos_pb2.Video(id="vid_b"))
    assert list(lines_of(empty)) == ["vid_b"]
    assert "<svg" in drawn(empty)


def test_a_job_that_does_a_dead_letter_again_says_so() -> None:
    again = jobs_pb2.JobHistory(video=videos_pb2.Video(id="vid_b"), requeue_of="vid_a")
    assert list(lines_of(again)) == ["vid_b, in place of vid_a"]
