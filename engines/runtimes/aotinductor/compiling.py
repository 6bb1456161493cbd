"""Compiles a torch module into a package: `runtime.py` calls it.

Needs the extra `longtake[build]`, and a C++ compiler.
"""

from __future__ import annotations

import json
import logging
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from engines.errors import EngineUnfit
from engines.runtimes.base import Module, Tell
from engines.spec import EngineSpec

if TYPE_CHECKING:
    from torch import nn

FACE: Final = "longtake_face"
"""In a package's metadata: the component, as JSON."""
EVERYWHERE: Final = {"aot_inductor.custom_op_libs": ["stdc++"], "layout_optimization": False}
"""Of every package. It shares the C++ library of torch: where a compiler links its own into what it makes, as some are
set up to do, symbols of two such libraries mix in one process, which crashes as it loads the package. And channels stay
where the module has them: with them last, what torch 2.13 makes of a decoder with caches computes something else."""
PORTABLE: Final = {"cpp.simdlen": 256, "cpp.march": "x86-64-v3", "cpp.dynamic_threads": True}
"""Of a package for CPUs: any x86 of the last ten years runs it, with as many threads as it is told at run time."""


def compiled(graph: Module, spec: EngineSpec, tell: Tell, *, on: str) -> bytes:
    """The component as a package for `cpu` or `cuda`, each named size open within its span.

    Raises `EngineUnfit` for what cannot be exported or compiled. What the compiler writes on its way is removed.
    """
    import torch
    from torch._inductor import aoti_compile_and_package
    from torch._inductor.utils import fresh_cache

    settings: dict[str, Any] = {**EVERYWHERE, "aot_inductor.metadata": {FACE: json.dumps(spec.component.to_json())}}
    if on == "cpu":
        settings |= PORTABLE
    else:
        exact()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="longtake-aotinductor-")))
        stack.enter_context(quiet())
        module = stack.enter_context(_moved(graph.module, on))
        stack.enter_context(torch.no_grad())
        stack.enter_context(fresh_cache())
        stack.enter_context(_attention())
        inputs = tuple(value.to(on) for value in graph.example_inputs)
        try:
            tell("torch.export")
            program = torch.export.export(module, inputs, dynamic_shapes=graph.shapes, strict=False)
            tell("AOTInductor")
            path = aoti_compile_and_package(
                program, package_path=str(folder / f"{spec.component.name}.pt2"), inductor_configs=settings
            )
        except Exception as error:  # torch raises what it likes
            raise EngineUnfit(f"{spec.component.name}: AOTInductor: {_first_line(error)}") from error
        return Path(path).read_bytes()


@contextmanager
def _moved(module: nn.Module, on: str) -> Iterator[nn.Module]:
    """On the device, and back on the CPU afterwards, where others use the same weights."""
    try:
        yield module.eval().to(on)
    finally:
        module.to("cpu")


def exact() -> None:
    """Float32 is float32 on a GPU: cuDNN rounds it to 19 bits otherwise, which is beyond what an engine may differ by.
    And no convolution sums in an order that changes from run to run. For all of this process: what it computes with
    torch is engines."""
    import torch

    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.deterministic = True


@contextmanager
def _attention() -> Iterator[None]:
    """The fastest kernel of attention that takes the shapes: on Hopper and after, that is cuDNN's."""
    from torch.nn.attention import SDPBackend, sdpa_kernel

    order = [
        SDPBackend.CUDNN_ATTENTION,
        SDPBackend.FLASH_ATTENTION,
        SDPBackend.EFFICIENT_ATTENTION,
        SDPBackend.MATH,
    ]
    with sdpa_kernel(order, set_priority=True):
        yield


@contextmanager
def quiet() -> Iterator[None]:
    """Without torch's warnings of its own affairs: what goes wrong it raises."""
    loggers = [
        logging.getLogger(name)
        for name in ("torch._inductor", "torch._export", "torch.export", "torch.export.pt2_archive._package")
    ]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            for logger in loggers:
                logger.setLevel(logging.ERROR)
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


def _first_line(error: Exception) -> str:
    """What went wrong, of a message that may be pages long."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else 'no reason given'}"[:400]
