"""What VACE is shown is what its pipeline shows it: which latents are marked known, and where each part lies."""

from __future__ import annotations

from typing import Any

import numpy as np

from engines.families.wan import control


def test_a_latent_is_known_by_the_frame_that_the_pipeline_takes_for_it(torch: Any) -> None:
    for latents in range(1, 129):
        frames = 4 * latents - 3
        numbers = torch.arange(frames).float().view(1, 1, frames, 1, 1)
        taken = torch.nn.functional.interpolate(numbers, size=(latents, 1, 1), mode="nearest-exact").flatten().numpy()
        for known in (0, *range(1, frames + 1, 4)):
            np.testing.assert_array_equal(control.unknown(known, latents=latents, frames=frames), taken >= known)


def test_one_frame_of_five_seconds_marks_no_latent_known() -> None:
    assert control.unknown(1, latents=21, frames=81).all()
    assert control.unknown(17, latents=21, frames=81).tolist() == [0] * 4 + [1] * 17


def test_each_part_has_its_channels() -> None:
    clip, blank = (np.full((3, 2, 4, 5), value, np.float32) for value in (7, 8))
    references = np.full((2, 2, 4, 5), 9, np.float32)
    unknown = np.array([0, 1, 1], np.float32)
    shown = control.assembled({"references": references, "clip": clip, "blank": blank, "unknown": unknown}, 20)
    assert shown.shape == (20, 5, 4, 5)
    assert (shown[:2, :2] == 9).all()
    assert (shown[2:, :2] == 0).all()
    assert (shown[:2, 2:] == 7).all()
    assert (shown[2:4, 2:] == 8).all()
    assert (shown[4:, 2] == 0).all()
    assert (shown[4:, 3:] == 1).all()
