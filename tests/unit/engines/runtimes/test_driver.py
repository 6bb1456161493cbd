"""The driver's library is asked by its own names; a library of the test's, compiled here, stands in for it."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from shutil import which

import pytest

from engines.runtimes import driver
from engines.runtimes.onnxruntime import OnnxRuntime

pytestmark = pytest.mark.skipif(which("gcc") is None, reason="the stand-in is compiled: gcc")
STANDS_IN = """
#include <stddef.h>
static int held, current;
int cuInit(unsigned flags) { return FAILS == 1 ? 100 : flags; }
int cuDeviceGet(int *device, int ordinal) { *device = 7 + ordinal; return 0; }
int cuDevicePrimaryCtxRetain(void **context, int device)
{
    if (device != 7) return 101;
    held++; *context = &held; return 0;
}
int cuDevicePrimaryCtxRelease_v2(int device) { held--; return device != 7; }
int cuCtxPushCurrent_v2(void *context) { if (context != &held) return 201; current++; return 0; }
int cuCtxPopCurrent_v2(void **context) { current--; *context = &held; return 0; }
int cuMemGetInfo_v2(size_t *left, size_t *all)
{
    if (held != 1 || current != 1 || FAILS == 2) return 201;
    *left = 5000000000; *all = 80000000000; return 0;
}
"""
Library = Callable[[int], str]


@pytest.fixture
def library(tmp_path: Path) -> Library:
    def make(fails: int) -> str:
        made = tmp_path / f"libcuda-{fails}.so"
        command = ["gcc", f"-DFAILS={fails}", "-shared", "-fPIC", "-x", "c", "-o", str(made), "-"]
        subprocess.run(command, input=STANDS_IN, text=True, check=True)
        return str(made)

    return make


def test_it_tells_of_the_memory_again_and_again_and_holds_nothing(library: Library) -> None:
    made = library(0)
    assert [driver.memory(made) for _ in range(3)] == [(5_000_000_000, 80_000_000_000)] * 3


@pytest.mark.parametrize("fails", [1, 2])
def test_a_driver_that_has_no_gpu_or_fails_tells_nothing(library: Library, fails: int) -> None:
    assert driver.memory(library(fails)) is None


def test_without_a_driver_nothing_is_told() -> None:
    assert driver.memory("libcuda-of-nobody.so.1") is None


def test_onnx_runtime_asks_for_a_gpu_alone(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    made = library(0)
    monkeypatch.setattr(driver.memory, "__defaults__", (made,))
    assert OnnxRuntime().memory("cuda") == (5_000_000_000, 80_000_000_000)
    assert OnnxRuntime().memory("cpu") is None
