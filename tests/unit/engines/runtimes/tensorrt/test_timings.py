"""TensorRT 11 does not time again what an earlier build has timed; the process is real, its package is pretended."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from engines.errors import EngineUnfit
from engines.kept import TRYING, Kept, KeptFile
from engines.runtimes.base import Source
from engines.runtimes.registry import SHIPPED
from engines.runtimes.tensorrt import compiling, cuda
from engines.runtimes.tensorrt.compiling import compile_in_child
from engines.runtimes.tensorrt.request import Compiled, Request
from engines.spec import ComponentSpec, EngineSpec
from engines.weights import WeightsFolder

PRETENDED = """
import os, pathlib, signal
from types import SimpleNamespace

HERE = b"this GPU;"
GRAPH = []

class ILogger:
    WARNING = 2

class IProgressMonitor:
    pass

class BuilderFlag:
    TF32 = 1

class OnnxParser:
    def __init__(self, network, log):
        pass
    def parse(self, graph, path):
        GRAPH.append(graph)
        return True

class Cache:
    def __init__(self, data):
        self.data = data or HERE
    def serialize(self):
        return memoryview(self.data)

class Config:
    cache = None
    def clear_flag(self, flag):
        pass
    def add_optimization_profile(self, profile):
        return 0
    def create_timing_cache(self, data):
        if b"crash" in data:
            os.kill(os.getpid(), signal.SIGSEGV)
        return None if b"garbage" in data else Cache(data)
    def set_timing_cache(self, cache, ignore_mismatch):
        assert ignore_mismatch is False
        if not cache.data.startswith(HERE):
            return False
        self.cache = cache
        return True

class Builder:
    def __init__(self, log):
        pass
    def create_network(self, flags):
        return None
    def create_builder_config(self):
        return Config()
    def create_optimization_profile(self):
        return SimpleNamespace(set_shape=lambda *shape: None)
    def build_serialized_network(self, network, config):
        graph, timed = GRAPH[-1], 0
        if b"refused" in graph:
            return None
        if b"dies" in graph:
            os.kill(os.getpid(), signal.SIGSEGV)
        if config.cache is None or graph not in config.cache.data:
            timed = 1
            if config.cache is not None:
                config.cache.data += graph + b";"
        return b"plan, timed %d" % timed
"""


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kept:
    """Where the pretended package may be imported."""
    (tmp_path / "pretended.py").write_text(PRETENDED)
    monkeypatch.syspath_prepend(str(tmp_path))
    return Kept(WeightsFolder(tmp_path / "weights"), "pretended")


@pytest.fixture
def build(doubler: ComponentSpec, kept: Kept) -> Callable[..., bytes]:
    """Builds a graph, as another process would that has not built before."""

    def do(graph: bytes = b"graph", timings: KeptFile | None = None) -> bytes:
        return compile_in_child(
            Request("pretended", doubler, None), graph, lambda _: None, timings=timings or file(kept)
        ).plan

    return do


def file(kept: Kept) -> KeptFile:
    return kept.file("timings", "sm90-cuda13000-11.4.0.106")


def found(kept: Kept) -> bytes | None:
    with file(kept).tried() as trial:
        return trial.data


def test_a_second_build_times_what_the_first_has_not_timed(kept: Kept, build: Callable[..., bytes]) -> None:
    assert build(b"one") == b"plan, timed 1"
    assert build(b"one") == b"plan, timed 0"
    assert build(b"two") == b"plan, timed 1"
    assert build(b"one") == build(b"two") == b"plan, timed 0"
    assert found(kept) == b"this GPU;one;two;"
    assert file(kept).path.stat().st_mode & 0o777 == 0o600


def test_without_a_place_for_them_it_times_all_each_time(doubler: ComponentSpec, kept: Kept) -> None:
    for _ in range(2):
        made = compile_in_child(Request("pretended", doubler, None), b"graph", lambda _: None)
        assert made.plan == b"plan, timed 1"
    assert not kept.folder.path.exists()


@pytest.mark.parametrize("wrong", [b"another GPU;graph;", b"garbage"])
def test_what_the_package_refuses_is_timed_anew_and_kept(kept: Kept, build: Callable[..., bytes], wrong: bytes) -> None:
    file(kept).put(wrong)
    assert build() == b"plan, timed 1"
    assert build() == b"plan, timed 0"
    assert found(kept) == b"this GPU;graph;"


def test_what_the_compiler_crashes_on_is_dropped_and_the_build_is_done(kept: Kept, build: Callable[..., bytes]) -> None:
    file(kept).put(b"crash")
    assert build() == b"plan, timed 1"
    assert found(kept) == b"this GPU;graph;"


def test_a_graph_that_the_compiler_crashes_on_is_an_error_as_ever(kept: Kept, build: Callable[..., bytes]) -> None:
    for _ in range(2):
        with pytest.raises(EngineUnfit, match=r"pretended crashed \(SIGSEGV\)"):
            build(b"dies")
        assert found(kept) is None
        build()
    assert not list(kept.folder.path.glob(f"*{TRYING}"))


def test_a_graph_that_is_refused_costs_no_timings(kept: Kept, build: Callable[..., bytes]) -> None:
    build()
    with pytest.raises(EngineUnfit, match="no engine, and no reason given"):
        build(b"refused")
    assert found(kept) == b"this GPU;graph;"


@pytest.mark.parametrize(("name", "keeps"), [("tensorrt", True), ("tensorrt_rtx", False)])
def test_tensorrt_keeps_them_by_gpu_and_version_and_tensorrt_rtx_has_none(
    name: str, keeps: bool, kept: Kept, doubler: ComponentSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[KeptFile | None] = []

    def compiled(request: Request, graph: bytes, tell: object, *, weights: None, timings: KeptFile | None) -> Compiled:
        assert weights is None
        given.append(timings)
        return Compiled(b"plan", 1.0, 1)

    runtime = SHIPPED.find(name)
    monkeypatch.setattr(cuda, "kind", lambda: "sm90-cuda13000")
    monkeypatch.setattr(type(runtime), "version", lambda _: "11.4.0.106")
    monkeypatch.setattr(compiling, "compile_in_child", compiled)
    spec = EngineSpec("tiny-1", "w1", doubler, name, "float32", "small", "sm90")
    for place in (kept, None):
        runtime.compile(Source(b"graph", pytest.fail, kept=place), spec, print)
    [one, none] = given
    assert none is None
    assert (one is not None) == keeps
    if one is not None:
        assert one.path == kept.folder.path / "pretended.sm90-cuda13000-11.4.0.106.timings.kept"
