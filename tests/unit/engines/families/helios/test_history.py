"""What a chunk is shown is the video's first latent and the 19 newest ones, wherever they lie; and no more is kept."""

from __future__ import annotations

import pytest

from engines.families.capabilities import Canvas
from engines.families.helios import history
from engines.families.helios.history import plan
from engines.families.history import Before

CANVAS = Canvas("16:9", 384, 640)


def test_a_video_that_grows_is_shown_its_newest_latents() -> None:
    facts, kept = "", tuple[int, ...]()
    for segment in range(8):
        count = 9 * segment
        found = plan(Before(CANVAS, count, facts), latent_tokens=960)
        shown = (*found.of("memory"), *found.of("newest"))
        assert shown == tuple(range(max(0, count - 19), count))
        assert len(found.of("newest")) == min(count, 9)
        assert set(found.of("memory")) <= set(kept)
        assert found.of("anchor") == ((0,) if count else ())
        # The next one asks for no other: what is kept, or lies in the segment that this plan makes, or the one before.
        assert set(found.keep) <= {*kept, *range(count - 9, count)}
        assert len(found.keep) <= 10
        facts, kept = found.facts, found.keep


@pytest.mark.parametrize("count", [1, 12, 19, 400])
def test_a_video_from_elsewhere_is_shown_its_tail_and_goes_on(count: int) -> None:
    first = plan(Before(CANVAS, count), latent_tokens=960)
    assert first.of("newest") == tuple(range(max(0, count - 19), count))
    assert not first.of("memory")
    second = plan(Before(CANVAS, count + 9, first.facts), latent_tokens=960)
    assert second.of("memory") == first.keep == tuple(range(max(0, count - 10), count))


def test_older_latents_take_less_of_the_sequence() -> None:
    """The 19 of a long video take as much as 1, 2 of an eighth and 16 of a sixty-fourth."""
    found = plan(Before(CANVAS, 90, history.plan(Before(CANVAS), latent_tokens=960).facts), latent_tokens=960)
    assert [source.tokens for source in found.sources] == [150, 960, 960 + 2 * 120 + 6 * 15]
