"""How fast the denoiser is on a GPU: a table, beside the same module in torch and the GPU's own matrix product."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

from engines.session import Session
from tests.gpu.conftest import Compiled
from tests.gpu.test_parity import LARGEST, resized

CALLS = 20
SIDE = 8192
"""Of the square matrices whose product is the peak."""


def seconds(call: Callable[[], object], calls: int = CALLS) -> float:
    """Of one call, the median of many; the first ones, which make kernels, do not count."""
    for _ in range(3):
        call()
    took = []
    for _ in range(calls):
        begun = time.perf_counter()
        call()
        took.append(time.perf_counter() - begun)
    return float(np.median(took))


def test_the_denoiser_against_torch_and_the_peak(compiled: Compiled, on_gpu: Session) -> None:
    torch: Any = pytest.importorskip("torch", reason="the comparison is with torch")
    if not torch.cuda.is_available():
        pytest.skip("this torch has no CUDA: the comparison is with torch on the same GPU")
    torch.backends.cuda.matmul.allow_tf32 = False
    face = compiled.manifest.entry("dit").spec.component
    case = next(case for case in compiled.model.family.cases() if case.component == "dit")
    module = compiled.model.family.graphs(compiled.model.weights)["dit"].module.cuda()
    weights = sum(value.numel() for value in module.parameters())
    of_products = peak(torch, torch.float32)
    print(f"\nsprite dit on {torch.cuda.get_device_name()}, float32; the peak is {of_products / 1e12:.1f} TFLOP/s")
    print("| B | tokens | engine, ms | torch, ms | of the peak |\n|---|---|---|---|---|")
    for batch in (1, 2, LARGEST):
        inputs = resized(case, face, batch)
        count, tokens = inputs["tokens"].shape[:2]
        there = [torch.from_numpy(inputs[tensor.name]).cuda() for tensor in face.inputs]

        ours = seconds(partial(on_gpu.infer, "dit", inputs))
        theirs = seconds(partial(_in_torch, torch, module, there))
        share = 2 * weights * count * tokens / ours / of_products
        print(f"| {count} | {tokens} | {1e3 * ours:.2f} | {1e3 * theirs:.2f} | {share:.1%} |")


def _in_torch(torch: Any, module: Any, values: list[Any]) -> None:
    with torch.inference_mode():
        module(*values)
    torch.cuda.synchronize()


def peak(torch: Any, dtype: Any) -> float:
    """Operations a second of a large product."""
    left, right = (torch.randn(SIDE, SIDE, device="cuda", dtype=dtype) for _ in range(2))

    def product() -> None:
        left @ right
        torch.cuda.synchronize()

    return float(2 * SIDE**3 / seconds(product))
