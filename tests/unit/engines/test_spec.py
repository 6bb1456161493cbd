"""Specs survive a manifest, and refuse what makes no engine."""

from __future__ import annotations

import json

import pytest

from engines.spec import ComponentSpec, EngineSpec, Span, TensorSpec


def test_a_spec_comes_back_from_json_as_it_was(doubler: ComponentSpec) -> None:
    spec = EngineSpec("tiny-1", "w1", doubler, "onnxruntime", "float32", "small", "cpu")
    assert EngineSpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec


def test_a_named_dim_of_an_input_needs_its_span() -> None:
    with pytest.raises(ValueError, match="no span for T"):
        ComponentSpec("c", (TensorSpec("x", "float32", ("B", "T")),), (), {"B": Span(1, 1, 1)})


@pytest.mark.parametrize("sizes", [(0, 1, 2), (3, 2, 4), (1, 5, 4)])
def test_a_span_that_is_out_of_order_is_refused(sizes: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="span"):
        Span(*sizes)
