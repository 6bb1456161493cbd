"""What a refusal says fits into the headers that it travels in."""

from __future__ import annotations

import pytest

from serving.errors import InvalidArgument, NotFound
from serving.frontdoor.edge.statuses import details_of, told


@pytest.mark.parametrize("letter", ["x", "é", "字", "🎬"])
def test_a_long_text_of_the_clients_is_told_by_its_ends(letter: str) -> None:
    message = told(f"no model {letter * 100_000}: there are sprite-2 and wan")
    assert message.startswith(f"no model {letter * 50}")
    assert message.endswith(": there are sprite-2 and wan")
    assert " ... " in message
    assert len(message.encode()) <= 705


def test_what_fits_is_told_as_it_is() -> None:
    assert told("é" * 350) == "é" * 350


@pytest.mark.parametrize("error", [NotFound("🎬" * 10_000), InvalidArgument("prompt", "🎬" * 10_000)])
def test_the_details_fit_too(error: NotFound | InvalidArgument) -> None:
    ((_, packed),) = details_of(error)
    assert len(packed) < 2_000
