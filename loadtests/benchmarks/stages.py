"""What a generated second of video takes, by stage, as the stages themselves record it.

Warm, with Director and stages in this process. Videos of one second: rendering a segment cannot overlap with denoising
the next there, so each part is what it takes alone. What overlapping gives shows in `overhead.py`.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections import defaultdict
from pathlib import Path

from loadtests.counting import Sums
from loadtests.scale import Scale
from loadtests.studio import studio
from loadtests.table import Row, spread
from serving.metrics import RENDER_SECONDS, STEP_SECONDS

NAME = "stages"
_SECONDS = 1
_CASES = (("16:9", "480p"), ("16:9", "1080p"))


def run(scale: Scale) -> list[Row]:
    """A few sizes, each some videos long."""
    return asyncio.run(_run(scale))


async def _run(scale: Scale) -> list[Row]:
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        async with studio(Path(folder)) as made:
            await made.make(seconds=1)
            for aspect_ratio, resolution in _CASES:
                found: dict[str, list[float]] = defaultdict(list)
                for _ in range(4 * scale.videos):
                    made.sums.reset()
                    record = await made.make(seconds=_SECONDS, aspect_ratio=aspect_ratio, resolution=resolution)
                    assert record.finished_ms is not None
                    for stage, value in {
                        **_by_stage(made.sums),
                        "all, from create to end": (record.finished_ms - record.created_ms) / 1000,
                    }.items():
                        found[stage].append(1000 * value / _SECONDS)
                whole = found["all, from create to end"]
                rows += [_row(f"{aspect_ratio} {resolution}", stage, found[stage], whole) for stage in found]
    return rows


def _by_stage(sums: Sums) -> dict[str, float]:
    return {
        "denoiser": sums.of(STEP_SECONDS),
        "renderer, VAE decode": sums.of(RENDER_SECONDS, "decode"),
        "renderer, video encode": sums.of(RENDER_SECONDS, "encode"),
        "renderer, store": sums.of(RENDER_SECONDS, "upload"),
    }


def _row(case: str, stage: str, values: list[float], whole: list[float]) -> Row:
    share = spread([100 * value / all_of_it for value, all_of_it in zip(values, whole, strict=True)], 0)
    return Row(NAME, f"{case}, {stage}: ms per second of video", spread(values), ratio=f"{share} % of all")
