"""Tokens and words: where each stands, and that nothing is lost on the way."""

from __future__ import annotations

import numpy as np
import pytest

from engines.families.sprite import packing, words, world
from engines.families.sprite.directing import Take, perform
from engines.families.sprite.stage import still

GRID = world.Grid(5, 9)


def test_tokens_are_latents_and_back() -> None:
    latents = np.random.default_rng(0).standard_normal((2, 3, 16, 10, 18), dtype=np.float32)
    tokens = packing.patchify(latents)
    assert tokens.shape == (2, 3, 45, 64)
    assert (packing.unpatchify(tokens, GRID) == latents).all()
    # Token 10 is that of row 1, column 1; its features are in (dy, dx, c) order.
    assert (tokens[0, 0, 10].reshape(2, 2, 16) == latents[0, 0, :, 2:4, 2:4].transpose(1, 2, 0)).all()


def test_a_place_of_the_world_is_the_same_in_short_target_and_memory() -> None:
    take = Take.at(30, [])
    moments, after = perform(take, [], "pans right", GRID)
    target = packing.latent_part("target", moments, GRID)
    short = packing.latent_part("short", (still(take.state),), GRID)
    memory = packing.memory_part((7,), (0,), GRID)
    assert after.state.offset == 2
    assert target.places.shape == (180, 2)
    assert short.places[0].tolist() == [30, 4]
    assert target.places[135].tolist() == [2, 4]
    assert memory.places.tolist() == [[7, 4], [7, 3], [7, 2], [7, 1], [7, 0]]
    assert {packing.ROLES[i] for i in target.role} == {"target 1", "target 2", "target 3", "target 4"}
    assert {packing.ROLES[i] for i in packing.latent_part("target", (still(take.state), *moments), GRID).role} == {
        "still",
        "target 1",
        "target 2",
        "target 3",
        "target 4",
    }
    assert set(target.pan.tolist()) == {1}


def test_words_stand_where_the_subject_is_and_where_each_latent_leaves_it() -> None:
    moments, _ = perform(Take.at(0, [(7, 0), (2, 3)]), ["right", "stays"], "holds", GRID)
    nouns = [words.noun(world.Named(0, 2), None), words.noun(world.Pattern((0, 1, 2, 3)), 1)]
    written = words.write(nouns, moments, 7, GRID)
    assert [words.VOCAB[i] for i in written.ids] == [
        *("red", "bar", "right", "left", "left", "left"),
        *("<ref2>", "<pad>", "stays", "stays", "stays", "stays"),
        *("white", "holds"),
    ]
    assert written.stand[:6, 0].tolist() == [7, 7, 8, 7, 6, 5]
    assert written.stand[:6, 1].tolist() == [4] * 6
    assert written.stand[6:12].tolist() == [[2, 1]] * 6
    assert written.stand[12:].tolist() == [[0, 0]] * 2


def test_a_reference_is_shown_in_the_slot_of_its_subject_whatever_its_number() -> None:
    moments, _ = perform(Take.at(0, [(7, 0), (2, 3)]), ["stays", "stays"], "holds", GRID)
    nouns = [words.noun(world.Pattern((0, 1, 2, 3)), 1), words.noun(world.Pattern((3, 1, 2, 3)), 0)]
    assert [n for n, _ in nouns] == ["<ref2>", "<ref1>"]
    written = words.write(nouns, moments, 7, GRID)
    assert [words.VOCAB[written.ids[i]] for i in (0, words.SUBJECT_SLOTS)] == ["<ref1>", "<ref2>"]


def test_the_words_of_a_root_begin_with_its_first_motion_and_tell_of_who_goes_along() -> None:
    take = Take.at(31, [(31, 0)])
    moments, _ = perform(take, ["goes along"], "pans right", GRID)
    written = words.write([("it", "<pad>")], (still(take.state), *moments), None, GRID)
    assert [words.VOCAB[i] for i in written.ids[:6]] == ["it", "<pad>", *["goes along"] * 4]
    assert written.stand[:6, 0].tolist() == [31, 31, 0, 1, 2, 3]
    assert [words.VOCAB[i] for i in written.ids[-2:]] == ["<pad>", "pans right"]


def test_a_missing_reference_stands_at_the_origin() -> None:
    part = packing.reference_part(still(Take.at(0, [(3, 1)]).state), GRID)
    assert part.places.tolist() == [[3, 3], [0, 0]]


def test_the_samplers_times_fall_from_noise_to_clean() -> None:
    times = packing.times(8)
    assert times[0] == 1
    assert times[-1] == 0
    assert (np.diff(times) < 0).all()
    with pytest.raises(ValueError, match="steps: 0; at least 1"):
        packing.times(0)
