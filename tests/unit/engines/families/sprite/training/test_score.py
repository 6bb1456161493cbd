"""The shipped engines must score, and only because of what the denoiser has learnt."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest

from engines.families.base import Engines
from engines.families.sprite import world
from engines.families.sprite.training.score import (
    Made,
    extend_chains,
    make_roots,
    named_cases,
    pattern_cases,
    report,
)
from engines.runtimes.base import Arrays
from engines.session import Session

WIDE = world.CANVASES["16:9"]

Infer = Callable[[Arrays], dict[str, npt.NDArray[np.generic]]]


class OtherDenoiser:
    """The shipped engines with another denoiser in the place of theirs."""

    def __init__(self, shipped: Engines, denoise: Infer) -> None:
        self.shipped = shipped
        self.denoise = denoise

    def infer(self, component: str, inputs: Arrays) -> dict[str, npt.NDArray[np.generic]]:
        return self.denoise(inputs) if component == "dit" else self.shipped.infer(component, inputs)


def texts(engines: Engines, count: int = 8) -> list[Made]:
    rng = np.random.default_rng(0)
    return list(make_roots(engines, named_cases(count, rng, held_out=True), "named", WIDE, rng, 8))


def references(engines: Engines, count: int = 8) -> list[Made]:
    rng = np.random.default_rng(0)
    return list(make_roots(engines, pattern_cases(count, rng), "reference", WIDE, rng, 8))


def test_prompts_and_patterns_that_were_never_trained_come_out_right(shipped: Session) -> None:
    for made in (texts(shipped), references(shipped)):
        assert sum(m.verdict.all for m in made) >= len(made) - 1
        assert sum(m.placed for m in made) >= len(made) - 1


def test_a_chain_keeps_what_its_root_shows(shipped: Session) -> None:
    rng = np.random.default_rng(0)
    roots = references(shipped, 4)
    kept = extend_chains(shipped, roots, "reference", "both + reference", WIDE, rng, 8, extensions=4)
    assert sorted(kept) == [1, 4]
    assert all(k.identity and k.background and k.velocity for k in kept[4])


def test_without_history_an_extension_does_not_know_where_to_go_on(shipped: Session) -> None:
    rng = np.random.default_rng(0)
    kept = extend_chains(shipped, references(shipped, 4), "reference", "none", WIDE, rng, 8, extensions=1)
    assert not any(k.identity for k in kept[1])


def test_a_denoiser_that_answers_noise_scores_nothing(shipped: Session) -> None:
    rng = np.random.default_rng(0)

    def denoise(inputs: Arrays) -> dict[str, npt.NDArray[np.generic]]:
        return {"x0": rng.standard_normal(inputs["tokens"].shape, dtype=np.float32)}

    noise = OtherDenoiser(shipped, denoise)
    for made in (texts(noise), references(noise)):
        assert not any(m.verdict.identity or m.verdict.all or m.placed for m in made)


def test_a_denoiser_with_noise_for_weights_scores_nothing(shipped: Session) -> None:
    torch = pytest.importorskip("torch", reason="swapping weights needs longtake[build]")
    from engines.families.sprite import graphs
    from engines.families.sprite.family import SpriteFamily

    module = graphs.components(SpriteFamily().weights)["dit"].module
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn_like(parameter) * parameter.std().nan_to_num(1.0))

    def denoise(inputs: Arrays) -> dict[str, npt.NDArray[np.generic]]:
        names = ("tokens", "text", "row", "col", "frame", "segment", "levels")
        with torch.no_grad():
            return {"x0": module(*(torch.from_numpy(np.asarray(inputs[name])) for name in names)).numpy()}

    noise = OtherDenoiser(shipped, denoise)
    for made in (texts(noise), references(noise)):
        assert not any(m.verdict.identity or m.verdict.all or m.placed for m in made)


def test_the_report_states_its_sample_counts(shipped: Session) -> None:
    lines = list(report(shipped, samples=1, chains=1, extensions=1, steps=1))
    rows = [line for line in lines if line.startswith("| ")]
    assert len(rows) == 1 + 3 * 10 + 1 + 3 * 9
    assert all("| 1 |" in row for row in rows if "canvas" not in row)
