"""The CRDs: current, structural, and of words that `kubectl explain` can say."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import BaseModel

from operators.api.schema import CRDS, crds, files, structural


def test_the_charts_files_are_current() -> None:
    for name, text in files().items():
        assert (CRDS / name).read_text() == text, f"{name} is out of date: run `make crds`"


@pytest.mark.parametrize("crd", crds(), ids=lambda crd: str(crd["spec"]["names"]["kind"]))
def test_every_field_is_described_and_every_list_is_bounded(crd: dict[str, Any]) -> None:
    schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    for path, part in _fields(schema["properties"]["spec"], "spec"):
        assert part.get("description"), f"{path} has no docstring under it"
        if part.get("type") == "array":
            assert "maxItems" in part, f"{path}: the API server refuses rules over lists without a bound"


def test_what_has_no_structural_form_is_refused_here_and_not_by_the_server() -> None:
    class Either(BaseModel):
        value: int | list[int]

    with pytest.raises(TypeError, match="no structural form"):
        structural(Either.model_json_schema())


def _fields(schema: dict[str, Any], path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, part in schema.get("properties", {}).items():
        yield f"{path}.{name}", part
        yield from _fields(part, f"{path}.{name}")
