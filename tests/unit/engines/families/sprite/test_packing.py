"""What stands where in the packed sequence, and how the sampler steps."""

import numpy as np
import pytest

from engines.families.sprite import packing


def test_patches_come_back_as_the_latents_they_were() -> None:
    latents = np.random.default_rng(0).standard_normal((2, 3, 16, 8, 14), np.float32)
    tokens = packing.patchify(latents)
    assert tokens.shape == (2, 3 * 4 * 7, 64)
    assert np.array_equal(packing.unpatchify(tokens, 8, 14), latents)


def test_a_token_holds_its_features_by_channel_then_row_then_column() -> None:
    latents = np.zeros((1, 16, 8, 8), np.float32)
    latents[0, 5, 2 + 1, 4 + 0] = 1
    tokens = packing.patchify(latents)
    assert np.argwhere(tokens).tolist() == [[1 * 4 + 2, 5 * 4 + 1 * 2 + 0]]


def test_a_root_packs_reference_and_target_alone() -> None:
    packed = packing.pack(np.zeros((1, 5, 16, 8, 14), np.float32), reference=np.ones((1, 16, 4, 4), np.float32))
    assert packed.positions.lengths == (("reference", 4), ("first", 28), ("rest", 112))
    assert packed.positions.target == slice(4, 144)
    assert packed.tokens.shape == (1, 144, 64)
    assert packed.positions.segment[[0, 4, 32]].tolist() == [1, 4, 5]
    assert packed.positions.row[:4].tolist() == [11, 11, 12, 12]
    assert packed.positions.col[:4].tolist() == [11, 12, 11, 12]
    assert packed.positions.frame[[0, 4, 32, 143]].tolist() == [8, 3, 4, 7]


def test_an_extension_packs_its_history_before_its_target() -> None:
    packed = packing.pack(
        np.zeros((2, 4, 16, 14, 8), np.float32),
        anchor=np.ones((2, 1, 16, 14, 8), np.float32),
        short=np.full((2, 2, 16, 14, 8), 2, np.float32),
    )
    assert packed.positions.lengths == (("anchor", 28), ("short", 56), ("rest", 112))
    assert [packed.tokens[0, i, 0] for i in (0, 28, 84)] == [1, 2, 0]
    assert packed.positions.row[:28].max() == 10
    assert packed.positions.col[:28].max() == 3


def test_an_axis_that_was_never_trained_is_refused() -> None:
    with pytest.raises(ValueError, match="height"):
        packing.positions(10, 8, ["rest"])


def test_a_condition_of_another_canvas_is_refused() -> None:
    with pytest.raises(ValueError, match="anchor"):
        packing.pack(np.zeros((1, 4, 16, 8, 8), np.float32), anchor=np.zeros((1, 1, 16, 8, 14), np.float32))


def test_times_fall_from_noise_to_clean() -> None:
    times = packing.times(8)
    assert times.dtype == np.float32
    assert (times[0], times[-1]) == (1, 0)
    assert (np.diff(times) < 0).all()
    assert times[4] > 0.8


def test_the_last_euler_step_lands_on_the_prediction() -> None:
    rng = np.random.default_rng(0)
    noisy, clean = rng.standard_normal((2, 3, 4), np.float32)
    assert np.allclose(packing.euler(noisy, clean, 0.46, 0.0), clean, atol=1e-6)


def test_conditions_are_clean_and_a_given_first_frame_too() -> None:
    assert packing.levels(1, 0.5).tolist() == [[0, 0, 0, 0, 0.5, 0.5]]
    assert packing.levels(1, 0.5, first_given=True).tolist() == [[0, 0, 0, 0, 0, 0.5]]
