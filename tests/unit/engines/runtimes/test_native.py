"""Engines of native code: which versions load them, in which precisions they compute, what stays on the GPU."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from engines.runtimes.native import OnDevice
from engines.runtimes.registry import SHIPPED

NATIVE = ["aotinductor", "tensorrt", "tensorrt_rtx"]


class Kept(OnDevice):
    """Three numbers, as if they lay on a GPU."""

    def __init__(self) -> None:
        super().__init__((3,), np.dtype(np.float32))

    def fetch(self) -> NDArray[np.generic]:
        return np.arange(3, dtype=np.float32)


@pytest.mark.parametrize("name", NATIVE)
@pytest.mark.parametrize(
    ("installed", "below"),
    [
        ("2.14.0", "2.14.1"),
        ("11.0.0.114", "11.0.0.115"),
        ("2.9.0a0", "2.9.1"),
        ("2.9.0.dev20261101", "2.9.1"),
        ("2.9.0rc1", "2.9.1"),
        ("10.1.0.post1", "10.1.1"),
    ],
)
def test_the_version_that_is_installed_loads_what_it_made(
    name: str, installed: str, below: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Images with a GPU's libraries come with pre-releases of torch."""
    runtime = SHIPPED.find(name)
    monkeypatch.setattr(type(runtime), "version", lambda self: installed)
    assert runtime.loads == (installed, below)
    assert runtime.bound_to() == f"{name}-{installed}"


@pytest.mark.parametrize("name", NATIVE)
def test_turing_alone_has_no_bfloat16(name: str) -> None:
    runtime = SHIPPED.find(name)
    assert runtime.no_precision("bfloat16", "sm75") == "sm75 has no bfloat16: take fp16"
    assert {runtime.no_precision(*asked) for asked in (("float16", "sm75"), ("bfloat16", "sm80"))} == {None}


def test_what_stayed_on_the_gpu_is_an_array_to_who_looks_into_it() -> None:
    kept = Kept()
    assert (kept.shape, kept.ndim, str(kept.dtype)) == ((3,), 1, "float32")
    np.testing.assert_array_equal(np.asarray(kept), [0, 1, 2])
    assert np.asarray(kept, np.float64).dtype == np.float64
    with pytest.raises(ValueError, match="without a copy nobody sees it"):
        np.asarray(kept, copy=False)
