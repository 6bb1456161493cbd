"""The command, and one benchmark on the real engines that needs no quiet machine."""

from __future__ import annotations

import importlib

import pytest

from loadtests.__main__ import BENCHMARKS, main


@pytest.mark.parametrize("name", BENCHMARKS)
def test_every_benchmark_is_a_module_of_its_name(name: str) -> None:
    module = importlib.import_module(f"loadtests.benchmarks.{name}")

    assert name == module.NAME
    assert callable(module.run)


def test_an_unknown_benchmark_is_refused_with_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--only", "speed"])

    assert ended.value.code == 2
    assert "frontdoor" in capsys.readouterr().err
