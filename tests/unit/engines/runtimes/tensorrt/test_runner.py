"""Plans run on a GPU that is a stand-in where native calls begin: what moves, what stays there, and what goes wrong."""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from engines import models
from engines.building import probes
from engines.errors import EngineCorrupt, EngineDeviceAbsent, EngineError
from engines.runtimes.native import OnDevice
from engines.runtimes.registry import SHIPPED
from engines.runtimes.tensorrt import cuda
from engines.runtimes.tensorrt.runner import TensorRtRunner
from engines.session import Session
from engines.spec import ComponentSpec, TensorSpec
from tests.unit.engines.runtimes.tensorrt.fake_gpu import FakeDevice, FakePackage

Graph = Callable[..., bytes]
X = np.arange(6, dtype=np.float32).reshape(2, 3)
I = np.array([10, 20])  # noqa: E741
Y = 2 * X + I[:, None]

no_gpu = pytest.mark.skipif(cuda.target() is not None, reason="what is seen where there is no GPU, and here is one")


class Bench:
    """One runner, with the GPU and the package that it is given."""

    def __init__(self, component: ComponentSpec, plan: bytes, *, ahead: bool = True) -> None:
        self.device = FakeDevice()
        self.package = FakePackage(self.device, ahead=ahead)
        self.runner = TensorRtRunner(component, plan, lambda: self.package, device=lambda: self.device)


@pytest.fixture
def bench(doubler: ComponentSpec, make_graph: Graph) -> Bench:
    return Bench(doubler, make_graph())


@pytest.fixture(scope="module")
def sprite() -> Iterator[tuple[Session, dict[str, Bench]]]:
    """The model that ships, its graphs as plans."""
    model = models.find("sprite")
    found = asyncio.run(model.package_store().find(model.name, None))
    benches = {
        entry.component: Bench(entry.spec.component, asyncio.run(found.read(entry))) for entry in found.manifest.engines
    }
    runners = {name: bench.runner for name, bench in benches.items()}
    with Session(model.family, runners, digest="fake") as session:
        yield session, benches


@pytest.mark.parametrize("ahead", [True, False])
def test_a_call_gives_what_the_plan_computes_and_all_memory_comes_back(
    doubler: ComponentSpec, make_graph: Graph, ahead: bool
) -> None:
    bench = Bench(doubler, make_graph(), ahead=ahead)
    with bench.runner as runner:
        np.testing.assert_array_equal(runner.infer({"x": X, "i": I})["y"], Y)
        np.testing.assert_array_equal(runner.infer({"x": X[:1], "i": I[:1]})["y"], Y[:1])
        assert bench.package.strategies == (["eager"] if ahead else [None])
    assert bench.device.memory == {}
    assert bench.device.closed


def test_memory_is_taken_once_for_the_largest_shape(bench: Bench) -> None:
    with bench.runner as runner:
        runner.infer({"x": np.repeat(X, 2, 0), "i": np.repeat(I, 2)})
        taken = set(bench.device.memory)
        for _ in range(20):
            runner.infer({"x": X, "i": I})
        assert set(bench.device.memory) == taken


def test_arrays_that_are_not_contiguous_arrive_as_they_read(bench: Bench) -> None:
    with bench.runner as runner:
        turned = np.asfortranarray(X)
        assert not turned.flags.c_contiguous
        np.testing.assert_array_equal(runner.infer({"x": turned, "i": I[::1]})["y"], Y)
        np.testing.assert_array_equal(runner.infer({"x": X[::-1], "i": I[::-1]})["y"], Y[::-1])


def test_threads_that_call_at_once_get_their_own_results(bench: Bench) -> None:
    wrong: list[int] = []

    def call(number: int) -> None:
        for _ in range(25):
            found = runner.infer({"x": X + number, "i": I})["y"]
            if not np.array_equal(found, Y + 2 * number):
                wrong.append(number)

    with bench.runner as runner:
        threads = [threading.Thread(target=call, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert wrong == []


def test_whole_runs_give_the_bytes_of_the_same_graphs_elsewhere(
    sprite: tuple[Session, dict[str, Bench]], shipped: Session
) -> None:
    session, _ = sprite
    family = models.find("sprite").family
    canvas = family.capabilities.canvases[0]
    found, wanted = (probes.end_to_end(family, engines, canvas) for engines in (session, shipped))
    for name, values in wanted.items():
        np.testing.assert_array_equal(found[name], values)


def test_what_a_step_hands_to_the_next_stays_on_the_gpu(
    sprite: tuple[Session, dict[str, Bench]], shipped: Session
) -> None:
    session, benches = sprite
    device = benches["vae_decoder_step"].device
    latents = np.random.default_rng(1).standard_normal((5, 1, 16, 8, 8), dtype=np.float32)
    caches = []
    for engines in (session, shipped):
        cache = engines.infer("vae_decoder_first", {"latent": latents[0]})["cache"]
        sent = fetched = 0
        for latent in latents[1:]:
            sent, fetched = device.sent, device.fetched
            answer = engines.infer("vae_decoder_step", {"latent": latent, "cache_in": cache})
            cache = answer["cache"]
        if engines is session:
            assert issubclass(type(cache), OnDevice)
            assert device.sent - sent == latents[0].nbytes
            assert device.fetched - fetched == answer["frames"].nbytes
        caches.append(cache)
    np.testing.assert_array_equal(np.asarray(caches[0]), caches[1])
    del answer
    before = len(device.memory)
    del cache, caches
    gc.collect()
    device.wait()
    assert len(device.memory) == before - 1


def test_values_on_the_gpu_go_with_their_engine(doubler: ComponentSpec) -> None:
    model = models.find("sprite")
    found = asyncio.run(model.package_store().find(model.name, None))
    entry = found.manifest.entry("vae_decoder_step")
    bench = Bench(entry.spec.component, asyncio.run(found.read(entry)))
    latent, cache = np.zeros((1, 16, 4, 4), np.float32), np.zeros((1, 128, 4, 4), np.float32)
    with bench.runner as runner:
        kept = runner.infer({"latent": latent, "cache_in": cache})["cache"]
        assert np.asarray(kept).shape == cache.shape
    assert bench.device.memory == {}
    with pytest.raises(EngineError, match="its engine was let go of"):
        np.asarray(kept)


def test_a_gpu_that_fails_is_an_error_in_its_own_words(bench: Bench) -> None:
    bench.runner.activate()
    bench.device.broken = True
    with pytest.raises(EngineError, match="illegal memory access"):
        bench.runner.infer({"x": X, "i": I})
    with pytest.raises(EngineError, match="illegal memory access"):
        bench.runner.deactivate()
    assert bench.device.closed


def test_an_engine_that_does_not_run_is_an_error(bench: Bench) -> None:
    with bench.runner as runner:
        bench.package.fails = True
        with pytest.raises(EngineError, match="doubler: the engine did not run"):
            runner.infer({"x": X, "i": I})


@pytest.mark.parametrize(
    ("validity", "reason"),
    [(("INVALID", 2), "UNSUPPORTED_CC"), (("INVALID", 10), "UNSUPPORTED_CC, INSUFF"), (("INVALID", 0), "no driver")],
)
def test_a_plan_for_another_gpu_is_refused_with_the_reason(
    bench: Bench, validity: tuple[str, int], reason: str
) -> None:
    bench.package.validity = validity
    with pytest.raises(EngineDeviceAbsent, match=f"none for this machine: {reason}"):
        bench.runner.activate()
    assert bench.device.closed


def test_a_plan_that_the_package_does_not_read_is_refused_in_its_words(bench: Bench) -> None:
    bench.package.refuses = True
    with pytest.raises(EngineDeviceAbsent, match="it was made by another version"):
        bench.runner.activate()
    bench.runner.deactivate()


def test_a_plan_with_another_face_than_its_spec_is_refused(doubler: ComponentSpec, make_graph: Graph) -> None:
    other = ComponentSpec("doubler", doubler.inputs, (TensorSpec("z", "float32", ("B", 3)),), doubler.spans)
    with pytest.raises(EngineCorrupt, match="build it again"):
        Bench(other, make_graph()).runner.activate()


@no_gpu
@pytest.mark.parametrize("name", ["tensorrt", "tensorrt_rtx"])
def test_without_a_gpu_the_package_is_not_even_imported(
    name: str, doubler: ComponentSpec, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The runtime of TensorRT 11 ends the process where there is no driver."""
    (tmp_path / f"{name}.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, name, raising=False)
    runner = SHIPPED.find(name).runner(doubler, b"plan", threads=1)
    with pytest.raises(EngineDeviceAbsent, match="cuda-bindings"):
        runner.activate()
    runner.deactivate()


@no_gpu
def test_what_native_code_is_bound_to_is_the_gpu_and_its_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a driver that is not there, CUDA says 0."""
    assert cuda.kind() is None
    pytest.importorskip("cuda.bindings.runtime", reason="cuda-bindings comes with longtake[tensorrt_rtx]")
    monkeypatch.setattr(cuda, "target", lambda: "sm89")
    assert cuda.kind() == "sm89-cuda0"


@no_gpu
def test_every_call_to_cuda_is_one_that_its_bindings_take() -> None:
    """Without a driver each answers that there is none; a call with wrong arguments would be a TypeError."""
    cudart = pytest.importorskip("cuda.bindings.runtime", reason="cuda-bindings comes with longtake[tensorrt_rtx]")
    device = object.__new__(cuda.Cuda)
    device._cudart, device.stream = cudart, 0
    values = np.zeros(4, np.float32)
    for call in (
        lambda: device.take(16),
        lambda: device.give(0),
        lambda: device.put(0, values),
        lambda: device.fetch(values, 0),
        device.wait,
        device.close,
        lambda: device._ask("cudaStreamCreate"),
    ):
        with pytest.raises(EngineError, match=r"CUDA: .*driver"):
            call()
