"""Each loop makes the same latents, in torch and over an engine; a tiny Wan's modules stand for engines."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from engines import models
from engines.checkpoints.files import Folder
from engines.families.base import Conditions
from engines.families.buildable import Sizes
from engines.families.capabilities import Canvas
from engines.families.wan.family import WanFamily
from engines.session import Session
from loadtests.compute import loops

CANVAS = Canvas("1:1", 32, 32)
STEPS = 3


@pytest.fixture(scope="module")
def pipeline() -> Any:
    """diffusers' own."""
    for package in ("torch", "diffusers", "transformers", "tokenizers"):
        pytest.importorskip(package, reason="a Wan is built with longtake[build]")
    from tests.unit.engines.families.wan import checkpoints

    return checkpoints.pipeline("text")


@pytest.fixture(scope="module")
def session(pipeline: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    """The checkpoint of the same pipeline."""
    from tests.unit.engines.families.wan.modules import session_of

    folder = tmp_path_factory.mktemp("wan")
    pipeline.save_pretrained(folder)
    family = models.opened(Folder(folder), name="tiny", sizes=Sizes((CANVAS,), 1)).family
    assert isinstance(family, WanFamily)
    with session_of(family) as session:
        yield session


@pytest.fixture(scope="module")
def conditions() -> Conditions:
    """Random text."""
    return Conditions(CANVAS, np.random.default_rng(0).standard_normal((1024, 24), dtype=np.float32))


def test_longtakes_latents_are_those_of_diffusers_in_torch_and_over_an_engine(
    pipeline: Any, session: Session, conditions: Conditions
) -> None:
    video = loops.longtake(session, conditions, steps=STEPS, checks={})
    before = session.usage["dit"].calls
    eager = loops.diffusers(pipeline, session, conditions, steps=STEPS)
    assert session.usage["dit"].calls == before
    with loops.through(session, pipeline.transformer):
        over_engine = loops.diffusers(pipeline, session, conditions, steps=STEPS)

    assert session.usage["dit"].calls == before + 2 * STEPS
    assert "forward" not in vars(pipeline.transformer)
    largest = 1e-5 * np.abs(video.latents).max()
    for found in (eager, over_engine):
        np.testing.assert_allclose(found.latents, video.latents, rtol=0, atol=largest)


def test_what_is_outside_of_the_engines_is_all_but_their_calls_and_the_checks_are_outside(
    session: Session, conditions: Conditions
) -> None:
    given = loops.record(session, conditions)
    checks = loops.check_seconds(session, given)
    before = session.usage
    video = loops.longtake(session, conditions, steps=STEPS, checks=dict.fromkeys(checks, 1.0))
    calls = {name: used.calls - before[name].calls for name, used in session.usage.items()}
    inside = sum(used.seconds - before[name].seconds for name, used in session.usage.items())

    assert given.keys() == checks.keys() == {"dit", "vae_decoder_first", "vae_decoder_step"}
    assert all(seconds > 0 for seconds in checks.values())
    assert calls == {"dit": STEPS, "vae_decoder_first": 1, "vae_decoder_step": 4, "text_encoder": 0, "preview": 0}
    assert video.outside == pytest.approx(video.seconds - inside + (STEPS + 1 + 4) * 1.0)
    assert video.denoising < video.seconds
