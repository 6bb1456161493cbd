"""What is read of a caller's `traceparent`: the grammar and nothing else."""

from __future__ import annotations

import pytest

from serving.traces.context import TraceContext, parse

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


def test_a_context_is_read_and_written_as_the_header_has_it() -> None:
    text = f"00-{TRACE}-{SPAN}-01"
    context = parse(text)
    assert context == TraceContext(TRACE, SPAN, sampled=True)
    assert context.traceparent == text


@pytest.mark.parametrize(("flags", "sampled"), [("00", False), ("01", True), ("02", False), ("03", True), ("ff", True)])
def test_one_flag_counts_and_no_other_is_passed_on(flags: str, sampled: bool) -> None:
    context = parse(f"00-{TRACE}-{SPAN}-{flags}")
    assert context is not None
    assert context.sampled is sampled
    assert context.traceparent.endswith(f"-0{int(sampled)}")


def test_of_a_later_version_the_first_parts_count() -> None:
    assert parse(f"cc-{TRACE}-{SPAN}-01-what-the-future-will-be-like") == parse(f"00-{TRACE}-{SPAN}-01")
    assert parse(f"01-{TRACE}-{SPAN}-01") is not None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "00",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE}-{SPAN}-1",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE}-{SPAN}-01\n",
        f"00-{TRACE}-{SPAN}-01 ",
        f" 00-{TRACE}-{SPAN}-01",
        f"cc-{TRACE}-{SPAN}-01.more",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-0G",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE[:-1]}-{SPAN}-01",
        f"00-{TRACE}x{SPAN}-01",
        f"00-{chr(0x661) * 32}-{SPAN}-01",
        "00-" + "a" * 1_000_000,
        "'; DROP TABLE spans; --",
        "\x00" * 55,
    ],
)
def test_what_does_not_keep_to_the_grammar_is_no_context(text: str) -> None:
    assert parse(text) is None


def test_a_place_has_the_same_span_for_all_who_work_it_out_and_another_one_below_another_span() -> None:
    here, there = TraceContext(TRACE, SPAN, sampled=True), TraceContext("1" * 32, SPAN, sampled=True)
    beside = TraceContext(TRACE, "5" * 16, sampled=True)
    assert here.of("attempt", "vid_1", 2) == TraceContext(TRACE, SPAN, sampled=True).of("attempt", "vid_1", 2)
    places = [here.of("attempt", 2), here.of("attempt", 3), there.of("attempt", 2), beside.of("attempt", 2)]
    assert len({place.span_id for place in places}) == 4
    assert all(parse(place.traceparent) == place for place in places)
