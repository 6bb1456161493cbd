"""Frames and latents of a family are one rule, whatever its first latent holds."""

from __future__ import annotations

from dataclasses import replace

import pytest

from engines.families.capabilities import Capabilities
from engines.families.sprite.capabilities import CAPABILITIES

STILL_FIRST = replace(CAPABILITIES, frames_per_latent=4, first_latent_frames=1)
ALL_ALIKE = replace(CAPABILITIES, frames_per_latent=8, first_latent_frames=8)


def test_where_a_video_begins_with_a_still_its_first_latent_is_one_frame() -> None:
    assert STILL_FIRST.frames_of(5, root=True) == 17
    assert STILL_FIRST.frames_of(4, root=False) == 16


def test_where_all_latents_are_alike_a_root_is_as_long_as_an_extension() -> None:
    assert ALL_ALIKE.frames_of(3, root=True) == ALL_ALIKE.frames_of(3, root=False) == 24


@pytest.mark.parametrize("can", [STILL_FIRST, ALL_ALIKE], ids=["still first", "all alike"])
def test_latents_of_frames_counts_whole_latents(can: Capabilities) -> None:
    for latents in range(1, 6):
        frames = can.frames_of(latents, root=True)
        assert can.latents_of(frames) == latents
        assert can.latents_of(frames - 1) == latents - 1
