"""The trained weights: small, and they do what they were trained for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the weights' own modules need longtake[build]")

from engines.families import sprite  # noqa: E402
from engines.families.sprite import world  # noqa: E402
from engines.families.sprite.captions import parse  # noqa: E402
from engines.families.sprite.directing import Take  # noqa: E402
from engines.families.sprite.planner import Planned, begin, extend  # noqa: E402
from engines.families.sprite.stage import Scene  # noqa: E402
from engines.families.sprite.training.filming import Studio, Video  # noqa: E402
from engines.families.sprite.training.judging import judge, returns  # noqa: E402
from engines.families.sprite.training.modules import Modules  # noqa: E402
from engines.families.sprite.training.score import Scorer  # noqa: E402
from engines.families.sprite.world import Named, Pattern, random_scenery  # noqa: E402

WEIGHTS = Path(sprite.__file__).parent / "weights"


@pytest.fixture(scope="module")
def scorer() -> Scorer:
    return Scorer(Modules(WEIGHTS), world.Grid(5, 5), cases=3, steps=8, seed=5)


def test_each_file_is_small() -> None:
    assert {path.name: path.stat().st_size <= 3_000_000 for path in WEIGHTS.iterdir()} == {
        "denoiser.safetensors": True,
        "vae.safetensors": True,
    }


def test_two_references_that_were_never_trained_come_out_right(scorer: Scorer) -> None:
    found = scorer.first(2, 0.0)
    assert all(found["first segment, 2 by reference"])
    assert not any(found["first segment, 2 by reference: swapped"])


@pytest.mark.parametrize("kind", ["turn", "return"])
def test_a_direction_is_followed(scorer: Scorer, kind: str) -> None:
    (exact,) = scorer.directed(kind, 2).values()  # type: ignore[arg-type]
    assert all(exact)


def test_scenery_comes_back_because_it_is_remembered(scorer: Scorer) -> None:
    (remembered,) = scorer.returned(1, given=True).values()
    (forgotten,) = scorer.returned(1, given=True, rule="none").values()
    assert all(remembered)
    assert len(remembered) == 12
    assert np.mean(forgotten) < 0.2


def test_a_prompt_is_what_the_video_shows(scorer: Scorer) -> None:
    """Scenery invented, a subject left behind and found again."""
    script = parse(
        "a red bar at the top left moves right under a navy sky and <ref1> at the bottom left stays. "
        "It stops, the camera pans right. The camera pans right. The camera pans back. It pans left. <ref1> moves right"
    )
    scene = Scene(8, random_scenery(np.random.default_rng(0)), (Named(0, 2), Pattern((0, 1, 2, 1))))
    video = Video(scene, ((scene.subjects[0], None), (scene.subjects[1], 0)), scorer.grid, Take.at(0, [(0, 0), (0, 3)]))
    studio = Studio(scorer.engines, steps=8, seed=1)
    planned: Planned | None = None
    for second in script.seconds:
        if planned is None:
            planned = begin(second, seed=0, grid=scorer.grid, references=range(1))
        else:
            planned = extend(planned.facts, second, seed=0, grid=scorer.grid)
        assert planned.warnings == ()
        studio.shoot([video], [planned.target])
    assert [judge(video, segment).exact for segment in range(6)] == [True] * 6
    # Now and then an invented block lies between two colours, and reads as either.
    assert sum(exact for _, exact in returns(video)) >= 7
