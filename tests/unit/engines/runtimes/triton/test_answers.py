"""Which shapes an answer may have is read from the engine's face and the call's inputs."""

from __future__ import annotations

import pytest

from engines.errors import EngineError
from engines.runtimes.triton.answers import Told, demand_answer, shape_of
from engines.spec import ComponentSpec, Span, TensorSpec

DECODER = ComponentSpec(
    name="decoder",
    inputs=(TensorSpec("latent", "float32", ("B", 16, "h", "w")),),
    outputs=(TensorSpec("frames", "float32", ("B", 4, 3, "8*h", "8*w")), TensorSpec("cache", "float32", ("B", None))),
    spans={name: Span(1, 2, 64) for name in ("B", "h", "w")},
)
SIZES = {"B": 2, "h": 4, "w": 6}


def test_sizes_that_are_multiples_of_an_inputs_are_known_before_the_call() -> None:
    frames, cache = DECODER.outputs
    assert shape_of(frames, SIZES) == (2, 4, 3, 32, 48)
    assert shape_of(cache, SIZES) == (2, None)


def test_what_the_face_leaves_open_may_be_anything() -> None:
    assert demand_answer(DECODER, DECODER.outputs[1], Told("cache", "FP32", (2, 7)), SIZES) == (2, 7)


def test_what_follows_from_the_inputs_may_not() -> None:
    with pytest.raises(EngineError, match=r"frames FP32 \[2, 4, 3, 32, 47\] for frames float32"):
        demand_answer(DECODER, DECODER.outputs[0], Told("frames", "FP32", (2, 4, 3, 32, 47)), SIZES)
