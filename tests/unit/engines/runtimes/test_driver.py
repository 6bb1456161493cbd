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


@pytest.fixture
def driver_that(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Stands in for the driver's library; 0: it works."""

    def make(fails: int) -> None:
        made = tmp_path / f"libcuda-{fails}.so"
        command = ["gcc", f"-DFAILS={fails}", "-shared", "-fPIC", "-x", "c", "-o", str(made), "-"]
        subprocess.run(command, input=STANDS_IN, text=True, check=True)
        monkeypatch.setattr(driver, "LIBRARY", str(made))

    return make


def test_it_tells_of_the_memory_again_and_again_and_holds_nothing(driver_that: Callable[[int], None]) -> None:
    driver_that(0)
    assert [driver.memory() for _ in range(3)] == [(5_000_000_000, 80_000_000_000)] * 3


@pytest.mark.parametrize("fails", [1, 2])
def test_a_driver_that_has_no_gpu_or_fails_tells_nothing(driver_that: Callable[[int], None], fails: int) -> None:
    driver_that(fails)
    assert driver.memory() is None


def test_without_a_driver_nothing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver, "LIBRARY", "libcuda-of-nobody.so.1")
    assert driver.memory() is None


def test_onnx_runtime_asks_for_a_gpu_alone(driver_that: Callable[[int], None]) -> None:
    driver_that(0)
    assert OnnxRuntime().memory("cuda") == (5_000_000_000, 80_000_000_000)
    assert OnnxRuntime().memory("cpu") is None
