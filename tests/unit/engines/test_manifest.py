"""A manifest tells when it was tampered with, and which runtime may load what it names."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from engines.errors import EngineCorrupt, EngineDeviceAbsent, EngineNotBuilt, EngineUnverified
from engines.manifest import Manifest
from engines.runtimes.onnxruntime import OnnxRuntime


@pytest.fixture
def manifest(make_manifest: Callable[..., Manifest], make_graph: Callable[..., bytes]) -> Manifest:
    return make_manifest(make_graph())


def test_a_manifest_comes_back_as_it_was(manifest: Manifest) -> None:
    assert Manifest.from_json(manifest.to_json(), where="here") == manifest


@pytest.mark.parametrize("change", [{"device": "gpu"}, {"weights_digest": "w2"}, {"profile": "large"}])
def test_a_spec_that_does_not_make_its_key_is_refused(manifest: Manifest, change: dict[str, str]) -> None:
    value = json.loads(manifest.to_json())
    value["engines"][0]["spec"] |= change
    with pytest.raises(EngineCorrupt, match="the key of doubler"):
        Manifest.from_json(json.dumps(value).encode(), where="here")


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b'{"format": 1}', b"\xff"])
def test_what_is_no_manifest_is_refused_with_its_place(data: bytes) -> None:
    with pytest.raises(EngineCorrupt, match="here"):
        Manifest.from_json(data, where="here")


def test_another_format_is_named(manifest: Manifest) -> None:
    value: dict[str, Any] = json.loads(manifest.to_json()) | {"format": 99}
    with pytest.raises(EngineCorrupt, match="format 99"):
        Manifest.from_json(json.dumps(value).encode(), where="here")


def test_a_component_that_is_not_there_is_missing_and_says_how_to_build_it(manifest: Manifest) -> None:
    with pytest.raises(EngineNotBuilt, match="longtake engines build --model tiny-1"):
        manifest.entry("tripler")


@pytest.mark.parametrize("version", ["1.31", "1.31.1", "1.40.0", "1.33.0.dev1"])
def test_a_newer_runtime_of_the_same_major_version_may_load_it(manifest: Manifest, version: str) -> None:
    manifest.check_runtime(Installed(version))


@pytest.mark.parametrize("version", ["1.30.2", "0.9", "2.0.0"])
def test_an_older_or_next_major_runtime_is_refused_with_the_command(manifest: Manifest, version: str) -> None:
    with pytest.raises(EngineUnverified, match=r"pip install 'onnxruntime>=1\.31,<2'"):
        manifest.check_runtime(Installed(version))


def test_a_runtime_that_is_not_installed_is_named_with_the_command(manifest: Manifest) -> None:
    with pytest.raises(EngineUnverified, match=r"is not installed: pip install 'onnxruntime>=1\.31,<2'"):
        manifest.check_runtime(Installed(None))


def test_engines_for_a_gpu_name_the_package_that_this_machine_lacks(manifest: Manifest) -> None:
    [entry] = manifest.engines
    for_gpu = replace(manifest, engines=(replace(entry, spec=replace(entry.spec, device="cuda")),))
    assert for_gpu.variant == "onnxruntime-cuda"
    with pytest.raises(EngineDeviceAbsent, match="for cuda, and this machine has cpu: `pip uninstall onnxruntime`"):
        for_gpu.check_runtime(OnnxRuntime())


def test_engines_of_two_runtimes_are_no_set(manifest: Manifest) -> None:
    value = json.loads(manifest.to_json())
    other = json.loads(json.dumps(value["engines"][0]))
    other["spec"]["runtime"] = "another"
    value["engines"].append(other)
    with pytest.raises(EngineCorrupt, match="one runtime"):
        Manifest.from_json(json.dumps(value).encode(), where="here")


class Installed(OnnxRuntime):
    """ONNX Runtime in a version of the test's choice; None for none at all."""

    def __init__(self, version: str | None) -> None:
        self._version = version

    def version(self) -> str:
        if self._version is None:
            raise ModuleNotFoundError("No module named 'onnxruntime'")
        return self._version
