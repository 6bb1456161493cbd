"""How much arithmetic a module takes, and how much the machine gives. Needs torch."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from torch import Tensor, nn

_SIDE: Final = 2048
_IN_A_ROW: Final = 3
"""Products that follow each other: the first one finds the caches full of something else."""
_AT_LEAST_S: Final = 0.05
"""Of one measurement: what takes less is repeated, what takes longer is called once."""


def flops(module: nn.Module, values: Sequence[Tensor]) -> int:
    """FLOPs of the matrix products and convolutions of one call, as `torch.utils.flop_counter` counts them.

    It does not know the CPU's fused attention and would count none: here attention is the two products that it is.
    """
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        module(*values)
    return int(counter.get_total_flops())


def rate(count: int, call: Callable[[], object]) -> float:
    """GFLOP/s of a call of so many FLOPs."""
    calls, begun = 0, time.perf_counter()
    while True:
        call()
        calls += 1
        seconds = time.perf_counter() - begun
        if seconds >= _AT_LEAST_S:
            return count * calls / seconds / 1e9


def gemm() -> Callable[[], float]:
    """Measures the peak in GFLOP/s: torch's product of float32 matrices of 2048 x 2048, the best of a few in a row."""
    import torch

    left, right = (torch.randn(_SIDE, _SIDE) for _ in range(2))
    product = torch.empty(_SIDE, _SIDE)

    def once() -> float:
        begun = time.perf_counter()
        torch.mm(left, right, out=product)
        return 2 * _SIDE**3 / (time.perf_counter() - begun) / 1e9

    return lambda: max(once() for _ in range(_IN_A_ROW))


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """torch computes with so many, as engines do."""
    import torch

    torch_: Any = torch
    before = torch_.get_num_threads()
    torch_.set_num_threads(count)
    try:
        yield
    finally:
        torch_.set_num_threads(before)
