"""A key changes with everything that decides an engine, and with nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest

from engines.key import canonical_json, engine_key, model_digest
from engines.spec import ComponentSpec, EngineSpec, Span


@pytest.fixture
def spec(doubler: ComponentSpec) -> EngineSpec:
    return EngineSpec("tiny-1", "w1", doubler, "onnxruntime", "float32", "small", "cpu")


def test_equal_specs_have_equal_keys_in_whatever_order_they_were_written(spec: EngineSpec) -> None:
    spans = {"A": Span(1, 1, 2), "B": Span(1, 2, 4)}
    first = replace(spec, component=replace(spec.component, spans=spans))
    second = replace(spec, component=replace(spec.component, spans=dict(reversed(spans.items()))))
    assert _key(first) == _key(second)


def test_a_key_changes_with_every_part(spec: EngineSpec) -> None:
    wider = replace(spec.component, spans={"B": Span(1, 2, 8)})
    others = [
        _key(replace(spec, model="tiny-2")),
        _key(replace(spec, weights_digest="w2")),
        _key(replace(spec, component=wider)),
        _key(replace(spec, component=replace(spec.component, name="tripler"))),
        _key(replace(spec, runtime="torch")),
        _key(replace(spec, profile="large")),
        _key(replace(spec, device="another")),
        _key(spec, graph_digest="other"),
        _key(spec, runtime_version="onnx-opset21"),
    ]
    assert len({_key(spec), *others}) == 1 + len(others)


def test_a_model_digest_is_over_all_engines_in_any_order() -> None:
    assert model_digest(["a", "b"]) == model_digest(["b", "a"])
    assert model_digest(["a", "b"]) != model_digest(["a"])


def test_values_without_one_spelling_are_refused() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical_json({"x": float("nan")})


def _key(spec: EngineSpec, *, graph_digest: str = "g1", runtime_version: str = "onnx-opset20") -> str:
    return engine_key(spec, graph_digest=graph_digest, runtime_version=runtime_version)
