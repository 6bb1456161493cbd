"""The benchmark of engines where something is missing, and one component of it on the engines that ship."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from engines import models
from engines.errors import EngineUnfit
from engines.families.buildable import Case
from engines.runtimes.onnxruntime import OnnxRuntime
from engines.runtimes.registry import SHIPPED
from engines.session import load_session
from engines.weights import WeightsFolder
from loadtests.__main__ import main
from loadtests.benchmarks import engines
from loadtests.compute import components, runtimes
from loadtests.scale import QUICK


def test_without_torch_or_its_like_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "NEEDS", ("json", "no_such_torch"))

    (row,) = engines.run(QUICK)

    assert row.what == "not measured: there is no no_such_torch: pip install 'longtake[build]'"


def test_what_is_interrupted_ends_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(scale: object) -> list[object]:
        raise KeyboardInterrupt

    monkeypatch.setattr(engines, "run", interrupted)

    assert main(["--only", "engines"]) == 130


def test_a_component_has_a_row_beside_torch_and_one_beside_the_peak(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="the comparison is with torch")
    model, runtime = models.find("sprite"), SHIPPED.default()
    modules = model.family.graphs(model.weights)
    case = next(_cases("vae_decoder_step"))
    told: list[str] = []
    engines_of = runtimes.Engines(model, modules, (case.component,), WeightsFolder(tmp_path), told.append)
    with engines_of.open(runtime) as session:
        rows = list(
            components.measured(
                "engines", "sprite-2", {runtime.name: session}, {case.component: case.inputs}, modules, 1, told.append
            )
        )

    assert told == ["sprite-2, vae_decoder_step"]
    assert [row.baseline.rpartition(" ")[0] for row in rows] == ["eager torch", "GEMM"]
    assert {row.what for row in rows} == {"sprite-2, vae_decoder_step: 1.93 GFLOP, onnxruntime, GFLOP/s"}
    assert all(float(row.ratio) > 0 for row in rows)
    assert not any(tmp_path.iterdir())


def test_an_engine_that_computes_something_else_is_not_measured() -> None:
    pytest.importorskip("torch", reason="the comparison is with torch")
    model = models.find("sprite")
    modules = dict(model.family.graphs(model.weights))
    case = next(_cases("vae_encoder"))
    layer = next(iter(modules["vae_encoder"].module.parameters()))
    layer.data.mul_(1.01)

    with asyncio.run(load_session("sprite", components=["vae_encoder"])) as session:
        rows = components.measured("engines", "", {"it": session}, {case.component: case.inputs}, modules, 1, print)
        with pytest.raises(EngineUnfit, match=r"vae_encoder by it: latent is \S+ from torch's"):
            list(rows)


def test_what_does_not_ship_is_exported_once_for_all_runtimes(tmp_path: Path) -> None:
    pytest.importorskip("onnxscript", reason="the export is torch's")
    model = models.find("sprite")
    told: list[str] = []
    modules = model.family.graphs(model.weights)
    built = runtimes.Engines(model, modules, ("vae_encoder",), WeightsFolder(tmp_path), told.append)
    first, second = Another(), Another()
    with built.open(first) as one, built.open(second) as other:
        frames = next(_cases("vae_encoder")).inputs
        ours, theirs = (session.infer("vae_encoder", frames)["latent"] for session in (one, other))

    np.testing.assert_array_equal(ours, theirs)
    assert told == [
        "sprite-2, vae_encoder: exporting",
        "sprite-2, vae_encoder: compiling for another",
        "sprite-2, vae_encoder: compiling for another",
    ]


def test_when_compiling_has_taken_long_no_further_component_is_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnxscript", reason="the export is torch's")
    monkeypatch.setattr(runtimes, "COMPILING_S", 0.0)
    model = models.find("sprite")
    names = ("vae_encoder", "dit")
    modules = model.family.graphs(model.weights)
    none = runtimes.Engines(model, modules, names, WeightsFolder(tmp_path), print).open(Another())
    monkeypatch.setattr(runtimes, "COMPILING_S", 1e-9)
    with none, runtimes.Engines(model, modules, names, WeightsFolder(tmp_path), print).open(Another()) as first:
        assert (list(none.runners), list(first.runners)) == ([], ["vae_encoder"])


class Another(OnnxRuntime):
    """A runtime whose engines the package does not have."""

    name = "another"


def _cases(component: str) -> Iterator[Case]:
    return (case for case in models.find("sprite").family.cases() if case.component == component)
