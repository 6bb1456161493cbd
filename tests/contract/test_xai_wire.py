"""Our protos are the public client's wire: every number, type, presence and enum value, read from its own wheel."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parent / "xai_client" / "describe.py"
ROOT = Path(__file__).parents[2]

IN_PART = {
    "xai_api.Batch",
    "xai_api.CreateBatchRequest",
    "xai_api.AddBatchRequestsRequest",
    "xai_api.ListBatchRequestMetadataRequest",
    "xai_api.ListBatchRequestMetadataResponse",
    "xai_api.ListBatchResultsRequest",
    "xai_api.ListBatchResultsResponse",
    "xai_api.GetBatchRequestResultResponse",
}
"""Messages of methods that are not offered: we hold only some of their fields."""


def described(package: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), package], cwd=ROOT, env={"PYTHONPATH": str(ROOT)}, capture_output=True,
        check=True, text=True,
    )  # fmt: skip
    result: dict[str, Any] = json.loads(done.stdout)
    return result


@pytest.fixture(scope="module")
def ours() -> dict[str, Any]:
    return described("serving.gen.xai.api.v1")


@pytest.fixture(scope="module")
def theirs() -> dict[str, Any]:
    return described("xai_sdk.proto.v6")


def test_every_field_that_we_have_is_theirs(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    for name, fields in ours["messages"].items():
        for number, field in fields.items():
            assert theirs["messages"][name][number] == field, f"{name}.{field['name']}"


def test_no_field_of_an_offered_message_is_missing(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    for name, fields in ours["messages"].items():
        if name not in IN_PART:
            assert fields.keys() == theirs["messages"][name].keys(), name


def test_every_enum_has_the_same_values(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    for name, values in ours["enums"].items():
        assert values == theirs["enums"][name], name


def test_every_method_is_there_with_the_same_shape(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    assert ours["methods"] == theirs["methods"]
