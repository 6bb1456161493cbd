"""What the options say, read strictly."""

from __future__ import annotations

import pytest
import typer
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.cli.output import describe, seconds_of
from serving.gen.longtake.v1.videos_pb2 import Video

NO_TIMES = ["soon", "s", "5", "²s", "٣s", "-1s", "1e5s", "1.2.3s", "9" * 5000 + "d", "36501d", "infs"]


@pytest.mark.parametrize(
    ("text", "want"), [("90s", 90), ("1.5m", 90), ("2h", 7200), ("7d", 604_800), ("0s", 0), ("1.s", 1), ("", None)]
)
def test_a_time_is_a_number_and_a_unit(text: str, want: float | None) -> None:
    assert seconds_of("ttl", text) == want


@pytest.mark.parametrize("text", NO_TIMES)
def test_what_is_none_ends_the_command(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as ended:
        seconds_of("ttl", text)
    assert ended.value.exit_code == 2
    assert capsys.readouterr().err.startswith("error: --ttl ")


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.text(max_size=20) | st.from_regex(r"[0-9.]{1,20}[smhd]", fullmatch=True))
def test_any_text_is_a_time_or_ends_the_command(text: str) -> None:
    try:
        found = seconds_of("ttl", text)
    except typer.Exit:
        return
    assert found is None or 0 <= found <= 100 * 365 * 86_400


def test_why_a_video_waits_stands_behind_its_state() -> None:
    video = Video(id="vid_a", state=Video.QUEUED)
    told = describe(video, "its model sprite-1 is not served here").splitlines()
    assert told[:2] == ["video          vid_a  (queued)", "why            its model sprite-1 is not served here"]
    assert "why" not in describe(video)
