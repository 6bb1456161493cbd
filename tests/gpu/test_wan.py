"""Ten layers of Wan 2.1's 1.3 B with random weights, at 480p x 81 frames in bf16: how much of the GPU's peak they use.

All thirty take three times as long, to compile as well: longer than one may wait here.

Beside the speed: a run that is killed goes on to the same bytes in engines that were loaded anew, and what Longtake's
own loop costs over the bare calls of its engine.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from engines.errors import EngineError
from engines.families.base import Conditions, Denoising
from engines.families.capabilities import Canvas
from engines.families.history import Before
from engines.families.wan import sampler
from engines.runtimes.base import Runner, Runtime
from tests.gpu import random_wan
from tests.gpu.conftest import for_this_gpu
from tests.gpu.test_speed import peak, seconds

pytest.importorskip("diffusers", reason="the modules of Wan need longtake[build]")
torch: Any = pytest.importorskip("torch")

LATENTS, HEIGHT, WIDTH = 21, 480, 832
LAYERS = 10
STEPS = 4
HALF = "bfloat16"


@pytest.fixture(scope="module")
def device() -> tuple[Runtime, str]:
    """A runtime that compiles modules, and the GPU."""
    return for_this_gpu("aotinductor")  # from a module alone, which the others do not do


@pytest.fixture(scope="module")
def graph(device: tuple[Runtime, str]) -> Any:
    """The denoiser, in float32 on the GPU."""
    sizes = {**random_wan.OF_1_3B, "num_layers": LAYERS}
    return random_wan.transformer(sizes, (LATENTS, HEIGHT // 8, WIDTH // 8), "cuda")


@pytest.fixture(scope="module")
def denoiser(device: tuple[Runtime, str], graph: Any) -> Iterator[Runner]:
    """Its engine, loaded."""
    begun = time.perf_counter()
    face, package = random_wan.engine("dit", graph, *device, HALF)
    print(f"\ncompiled in {time.perf_counter() - begun:.0f} s, {len(package) / 1e9:.2f} GB")
    with device[0].runner(face, package, threads=1) as runner:
        yield runner


class Engines:
    """Implements `families.base.Engines` with one of them; how long it was at work."""

    def __init__(self, runner: Runner) -> None:
        self.runner = runner
        self.seconds = 0.0

    def infer(self, component: str, inputs: Any) -> Any:
        """Its answer."""
        assert component == "dit"
        begun = time.perf_counter()
        found = self.runner.infer(inputs)
        self.seconds += time.perf_counter() - begun
        return found


def noise() -> Denoising:
    """A segment that was not begun."""
    canvas = Canvas("16:9", HEIGHT, WIDTH)
    text = np.random.default_rng(1).standard_normal((1024, 4096)).astype(np.float32)
    conditions = Conditions(canvas, text, effective_prompt="a cat", before=Before(canvas))
    return sampler.start(
        random_wan.ARCHITECTURE, conditions, latents=LATENTS, seed=1, segment=0, steps=STEPS, packed={}
    )


def test_the_share_of_the_peak(graph: Any, denoiser: Runner) -> None:
    from torch.utils.flop_counter import FlopCounterMode

    from engines.building import half

    inputs = [value[:1].contiguous() for value in graph.example_inputs]
    ours = seconds(lambda: denoiser.infer(dict(zip(graph.input_names, map(np.asarray, inputs), strict=True))), calls=5)
    eager = half.halved(graph, HALF).module.cuda()
    there = [value.cuda() for value in inputs]

    def call() -> Any:
        found = eager(*there)
        torch.cuda.synchronize()
        return found

    with torch.inference_mode():
        with FlopCounterMode(display=False) as counter:
            wanted = call().float().cpu().numpy()
        theirs = seconds(call, calls=5)
    of_products = peak(torch, torch.bfloat16)
    operations = counter.get_total_flops()
    found = denoiser.infer(dict(zip(graph.input_names, map(np.asarray, inputs), strict=True)))["velocity"]
    cosine = float((found * wanted).sum() / np.sqrt((found**2).sum() * (wanted**2).sum()))
    print(f"\n{torch.cuda.get_device_name()}, bf16 products of 8192: {of_products / 1e12:.0f} TFLOP/s")
    print(f"one call: {operations / 1e12:.0f} TFLOP; cosine with eager torch in bf16: {cosine:.6f}")
    print("| | ms | of the peak |\n|---|---|---|")
    print(
        f"| engine, with its inputs from and its answer to the host | {1e3 * ours:.0f} | "
        f"{operations / ours / of_products:.1%} |"
    )
    print(f"| the module in eager torch | {1e3 * theirs:.0f} | {operations / theirs / of_products:.1%} |")
    assert cosine > 0.999


def test_a_run_that_was_killed_goes_on_to_the_same_bytes_and_the_loop_costs_little(denoiser: Runner) -> None:
    engines, state, kept = Engines(denoiser), noise(), noise()
    begun = time.perf_counter()
    while not state.done:
        if state.step == STEPS // 2:
            kept = copy.deepcopy(state)
        sampler.step(random_wan.ARCHITECTURE, engines, [state])
    whole = time.perf_counter() - begun
    loop = whole - engines.seconds
    of_all = loop / (loop + engines.seconds * random_wan.OF_1_3B["num_layers"] / LAYERS)
    print(f"\n{STEPS} steps of two rows in one call: {whole:.2f} s, of which the loop {loop:.3f} s")
    print(f"the loop beside all layers of the model: {of_all:.1%}")
    denoiser.deactivate()
    denoiser.activate()
    while not kept.done:
        sampler.step(random_wan.ARCHITECTURE, Engines(denoiser), [kept])
    np.testing.assert_array_equal(kept.latents, state.latents)


def test_more_than_the_memory_holds_is_an_error_and_the_engine_goes_on(denoiser: Runner) -> None:
    small = {
        "latents": np.zeros((1, 16, 1, 8, 8), np.float32),
        "time": np.full(1, 500, np.float32),
        "text": np.zeros((1, 512, 4096), np.float32),
    }
    before = denoiser.infer(small)["velocity"]
    hog = torch.empty(int(torch.cuda.mem_get_info()[0] * 0.995), dtype=torch.uint8, device="cuda")
    with pytest.raises(EngineError, match="did not run"):
        denoiser.infer({**small, "latents": np.zeros((1, 16, 101, 60, 104), np.float32)})
    del hog
    torch.cuda.empty_cache()
    np.testing.assert_array_equal(denoiser.infer(small)["velocity"], before)


def test_the_decoder_gives_what_eager_torch_gives(device: tuple[Runtime, str]) -> None:
    graphs = random_wan.decoder({"base_dim": 96, "z_dim": 16}, "cuda")
    runners = {}
    for name, graph in graphs.items():
        face, package = random_wan.engine(name, graph, *device, HALF)
        runners[name] = device[0].runner(face, package, threads=1)
        runners[name].activate()
    latent = np.random.default_rng(0).standard_normal((1, 16, HEIGHT // 8, WIDTH // 8)).astype(np.float32)
    first, step = runners["vae_decoder_first"], runners["vae_decoder_step"]

    def ours() -> Any:
        found = first.infer({"latent": latent})
        for _ in range(2):
            found = step.infer({"latent": latent, **{f"{n}_in": v for n, v in found.items() if n != "frames"}})
        return found["frames"]

    from engines.building import half

    eager = {name: half.halved(graph, HALF).module.cuda() for name, graph in graphs.items()}
    there = torch.from_numpy(latent).cuda()

    def theirs() -> Any:
        with torch.inference_mode():
            found = eager["vae_decoder_first"](there)
            for _ in range(2):
                found = eager["vae_decoder_step"](there, *found[1:])
            return found[0].cpu().numpy()

    print(
        f"\nthree latents at 480p: engine {1e3 * seconds(ours, calls=5):.0f} ms, "
        f"eager torch {1e3 * seconds(theirs, calls=5):.0f} ms; bf16"
    )
    difference = float(np.abs(np.asarray(ours()) - theirs()).max())
    print(f"largest difference of a pixel in -1..1: {difference:.1e}")
    assert difference < 0.1
