"""A package of AOTInductor, compiled for this machine's CPU, answers as the module that it was compiled from."""

from __future__ import annotations

import io
import tempfile
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from shutil import which
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from engines.errors import EngineCorrupt, EngineUnfit
from engines.families.graph import GraphSpec
from engines.runtimes.aotinductor.compiling import exact
from engines.runtimes.aotinductor.runtime import AotInductor
from engines.runtimes.base import Runner, Source
from engines.spec import ComponentSpec, EngineSpec, Span, TensorSpec
from tests.gpu import random_wan

if TYPE_CHECKING:
    import torch
    import torch._inductor.config
else:
    torch = pytest.importorskip("torch", reason="AOTInductor is torch's: longtake[build]")
    pytest.importorskip("torch._inductor.config")
if not any(map(which, ("g++", "clang++"))):
    pytest.skip("AOTInductor needs a C++ compiler: g++", allow_module_level=True)

pytestmark = pytest.mark.xdist_group("aotinductor")  # one compiles for all

FACE = ComponentSpec(
    "counter",
    (TensorSpec("x", "float32", ("B", 3)), TensorSpec("i", "int64", ("B",)), TensorSpec("sum_in", "float32", (3,))),
    (TensorSpec("y", "float32", ("B", 3)), TensorSpec("sum", "float32", (3,))),
    {"B": Span(1, 4, 64)},
)


class Counter(torch.nn.Module):
    """Twice a value and its number; and the sum of all values so far."""

    def __init__(self) -> None:
        super().__init__()
        self.twice = torch.nn.Parameter(torch.tensor(2.0))

    def forward(self, x: Any, i: Any, past: Any) -> Any:
        return self.twice * x + i[:, None], past + x.sum(0)


class Undecided(torch.nn.Module):
    """What it computes depends upon what it sees: nobody can compile it ahead."""

    def forward(self, x: Any, i: Any, past: Any) -> Any:
        return (x, past) if x.sum() > 0 else (-x, past + i.sum())


def spec(**changed: Any) -> EngineSpec:
    said = EngineSpec("counter", "none", FACE, "aotinductor", "float32", "canvases", "cpu")
    return replace(said, **changed)


def graph(module: Any) -> GraphSpec:
    batch = {0: torch.export.Dim("B", min=1, max=64)}
    inputs = (torch.ones(4, 3), torch.ones(4, dtype=torch.int64), torch.zeros(3))
    return GraphSpec(module, inputs, ("x", "i", "sum_in"), ("y", "sum"), (batch, batch, {}))


@pytest.fixture(scope="module", autouse=True)
def _temporary(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A folder of temporary things that nobody else uses."""
    before, tempfile.tempdir = tempfile.tempdir, str(tmp_path_factory.mktemp("temporary"))
    yield
    tempfile.tempdir = before


def left() -> set[Path]:
    """What compilers and packages have in it."""
    return set(Path(tempfile.gettempdir()).glob("longtake-aotinductor-*"))


def inputs(count: int, past: Any = None) -> dict[str, Any]:
    x = np.arange(3 * count, dtype=np.float32).reshape(count, 3)
    return {"x": x, "i": np.arange(count), "sum_in": np.zeros(3, np.float32) if past is None else past}


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """By a compiler that links its own C++ library into all it makes, where nothing else is asked for."""
    compiler = tmp_path_factory.mktemp("compiler") / "c++"
    own = 'case " $* " in *" -shared "*) set -- -static-libstdc++ "$@";; esac'
    compiler.write_text(f'#!/bin/sh\n{own}\nexec {which("g++") or which("clang++")} "$@"\n')
    compiler.chmod(0o755)
    before, told = left(), list[str]()
    with torch._inductor.config.patch({"cpp.cxx": (None, str(compiler))}):
        made = AotInductor().compile(Source(b"", lambda: graph(Counter())), spec(), told.append)
    assert told == ["torch.export", "AOTInductor"]
    assert left() == before
    return made


@pytest.fixture
def runner(package: bytes) -> Iterator[Runner]:
    with AotInductor().runner(FACE, package, threads=1) as loaded:
        yield loaded


@pytest.mark.parametrize("count", [1, 4, 64])
def test_it_computes_what_the_module_does_for_every_size_within_its_span(runner: Runner, count: int) -> None:
    given = inputs(count)
    found = runner.infer(given)
    np.testing.assert_array_equal(found["y"], 2 * given["x"] + given["i"][:, None])
    again = runner.infer(inputs(count, found["sum"]))
    np.testing.assert_array_equal(again["sum"], 2 * given["x"].sum(0))


def test_calls_from_many_threads_give_each_its_own_answer(runner: Runner) -> None:
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda count: len(runner.infer(inputs(count))["y"]), range(1, 33)))
    assert found == list(range(1, 33))


def test_a_size_beyond_the_span_is_refused_before_torch_sees_it(runner: Runner) -> None:
    with pytest.raises(ValueError, match="B is 65, and this engine takes 1 to 64"):
        runner.infer(inputs(65))


def test_loaded_anew_it_gives_the_same_bytes_and_leaves_nothing(package: bytes) -> None:
    before, runner = left(), AotInductor().runner(FACE, package, threads=1)
    answers = []
    for _ in range(2):
        with runner:
            answers.append(runner.infer(inputs(4)))
    for name in ("y", "sum"):
        np.testing.assert_array_equal(answers[0][name], answers[1][name])
    assert left() == before


def test_it_shares_the_cpp_library_of_torch_whatever_the_compiler_links(package: bytes) -> None:
    with zipfile.ZipFile(io.BytesIO(package)) as files:
        (library,) = [files.read(name) for name in files.namelist() if name.endswith(".so")]
    assert b"libstdc++.so" in library  # by name, as what it needs; with its own, torch does not load it


def test_float32_is_not_rounded_on_a_gpu() -> None:
    cudnn = torch.backends.cudnn
    before = cudnn.allow_tf32, cudnn.deterministic
    try:
        exact()
        assert (cudnn.allow_tf32, cudnn.deterministic) == (False, True)
    finally:
        cudnn.allow_tf32, cudnn.deterministic = before


@pytest.mark.parametrize("spoilt", [lambda package: b"", lambda package: b"PK\x03\x04", lambda package: package[:999]])
def test_bytes_that_are_no_package_are_corrupt(package: bytes, spoilt: Any) -> None:
    with pytest.raises(EngineCorrupt, match="counter: torch does not load the package"):
        AotInductor().runner(FACE, spoilt(package), threads=1).activate()


def test_a_package_of_another_face_is_corrupt(package: bytes) -> None:
    other = replace(FACE, spans={"B": Span(1, 4, 128)})
    with pytest.raises(EngineCorrupt, match="another face"):
        AotInductor().runner(other, package, threads=1).activate()


def test_what_cannot_be_compiled_is_one_line_and_leaves_nothing() -> None:
    before = left()
    with pytest.raises(EngineUnfit, match=r"^counter: AOTInductor: .+") as caught:
        AotInductor().compile(Source(b"", lambda: graph(Undecided())), spec(), print)
    assert "\n" not in str(caught.value)
    assert left() == before


def test_it_compiles_for_the_machine_at_hand_alone() -> None:
    with pytest.raises(EngineUnfit, match="compiles for the machine at hand, here cpu, not for sm89: build there"):
        AotInductor().targets(["sm89"])
    assert AotInductor().targets([]) == ("cpu",)


def test_a_runner_without_threads_is_refused(package: bytes) -> None:
    with pytest.raises(ValueError, match="threads: 0"):
        AotInductor().runner(FACE, package, threads=0)


def test_it_computes_what_a_decoder_with_caches_does() -> None:
    """Of Wan's kind, where it doubles frames: torch made another one of it when it might put channels last."""
    pytest.importorskip("diffusers", reason="the decoder is Wan's: longtake[build]")
    sizes = {"base_dim": 4, "z_dim": 16, "dim_mult": [1, 1], "num_res_blocks": 1, "temperal_downsample": [True]}
    graph = random_wan.decoder(sizes, "cpu")["vae_decoder_step"]
    face, package = random_wan.engine("vae_decoder_step", graph, AotInductor(), "cpu", "float32")
    with AotInductor().runner(face, package, threads=1) as loaded, torch.inference_mode():
        for count in (1, 2):
            given = [torch.randn(count, *value.shape[1:]) for value in graph.example_inputs]
            found = loaded.infer({name: value.numpy() for name, value in zip(graph.input_names, given, strict=True)})
            for name, wanted in zip(graph.output_names, graph.module(*given), strict=True):
                np.testing.assert_allclose(
                    np.float32(found[name]), wanted.numpy(), atol=1e-4, err_msg=f"{name} of {count}"
                )
