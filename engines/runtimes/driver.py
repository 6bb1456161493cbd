"""NVIDIA's driver, as far as its own library tells without any package: the memory of the first GPU.

`onnxruntime.py` asks, whose CUDA provider has no such question. The names are those of CUDA's driver API, which keeps
them for good.
"""

from __future__ import annotations

import ctypes
from typing import Final

from engines.runtimes.base import DeviceMemory

LIBRARY: Final = "libcuda.so.1"
"""It comes with the driver, and lies where the loader finds it."""


def memory() -> DeviceMemory | None:
    """Of the first GPU that this process sees, whoever uses it; None without a driver or a GPU.

    Joins the context that all of a process share which compute there, and makes it where there is none yet.
    """
    try:
        cuda = ctypes.CDLL(LIBRARY)
    except OSError:
        return None
    device, context = ctypes.c_int(), ctypes.c_void_p()
    if (
        cuda.cuInit(0)
        or cuda.cuDeviceGet(ctypes.byref(device), 0)
        or cuda.cuDevicePrimaryCtxRetain(ctypes.byref(context), device)
    ):
        return None
    try:
        return _of(cuda, context)
    finally:
        cuda.cuDevicePrimaryCtxRelease_v2(device)


def _of(cuda: ctypes.CDLL, context: ctypes.c_void_p) -> DeviceMemory | None:
    free, total = ctypes.c_size_t(), ctypes.c_size_t()
    if cuda.cuCtxPushCurrent_v2(context):
        return None
    try:
        if cuda.cuMemGetInfo_v2(ctypes.byref(free), ctypes.byref(total)):
            return None
    finally:
        cuda.cuCtxPopCurrent_v2(ctypes.byref(ctypes.c_void_p()))
    return DeviceMemory(free.value, total.value)
