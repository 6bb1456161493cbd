"""Scores the sprite-2 model from decoded pixels: `python -m engines.families.sprite.training.score --help`.

Videos are drawn anew from a seed, with patterns and combinations that were never trained; `filming` makes them and
`judging` reads them. Nothing here knows a runtime: a net of noise falls to chance in every row.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from engines.families.base import Engines
from engines.families.sprite import world
from engines.families.sprite.directing import Camera, Take
from engines.families.sprite.memory import RULES, Rule
from engines.families.sprite.packing import DEFAULT_STEPS
from engines.families.sprite.stage import still
from engines.families.sprite.training.drawing import Kind, draw
from engines.families.sprite.training.filming import Direction, Studio, Video
from engines.families.sprite.training.judging import as_given, judge, returns
from engines.families.sprite.training.plans import draw_plan, draw_video, video_of
from engines.families.sprite.world import RING, Grid

AWAY: Final = (1, 4, 16, 64)
LAPS: Final = 4
CHAIN: Final = 8
LONG_CHAINS: Final = (64, 256)
DIRECTED: Final[tuple[Kind, ...]] = ("turn", "stay", "wait", "along", "return")
_BATCH: Final = 16
_LAP_PANS: Final = RING // 4

Found = Mapping[str, Sequence[bool]]
"""What was measured, by the row's name."""


@dataclass(frozen=True)
class Scorer:
    """Measures the rows of one canvas."""

    engines: Engines
    grid: Grid
    cases: int
    steps: int
    seed: int

    def _film(self, videos: Sequence[Video], plans: Sequence[Sequence[Direction]]) -> None:
        """Shoot each plan to its end; all are equally long."""
        studio = Studio(self.engines, steps=self.steps, seed=self.seed + 1)
        for begin in range(0, len(videos), _BATCH):
            chosen = videos[begin : begin + _BATCH]
            for directions in zip(*plans[begin : begin + _BATCH], strict=True):
                studio.shoot(chosen, [v.direct(d) for v, d in zip(chosen, directions, strict=True)])

    def _videos(self, salt: int, subjects: int, *, named: float = 0.5, rule: Rule = "stable") -> list[Video]:
        rng = np.random.default_rng((self.seed, salt))
        return [draw_video(rng, self.grid, subjects, named=named, rule=rule) for _ in range(self.cases)]

    def returned(self, away: int, *, given: bool, rule: Rule = "stable") -> Found:
        """The camera pans away, holds, and comes back; one subject goes along."""
        videos = self._videos(away, 1, rule=rule)
        cameras: list[Camera] = ["holds", "pans right", *_times("holds", away - 1), "pans left"]
        for video in videos:
            video.panorama = given
        self._film(videos, [[([None if c == "holds" else "goes along"], c) for c in cameras] for _ in videos])
        cells = [exact for video in videos for gone, exact in returns(video) if gone == away]
        how = "given" if given else "invented"
        return {f"scenery {how}, back after {away}, {rule}": cells}

    def laps(self, rule: Rule = "stable") -> Found:
        """Round the ring and round again: cells as given, by lap."""
        videos = self._videos(1, 0, rule=rule)
        for video in videos:
            video.panorama = True
        cameras: list[Camera] = ["holds", *_times("pans right", _LAP_PANS * LAPS)]
        self._film(videos, [[([], camera) for camera in cameras] for _ in videos])
        found: dict[str, list[bool]] = {}
        for lap in range(LAPS):
            begin = 5 + lap * RING
            found[f"lap {lap + 1}, {rule}"] = [e for v in videos for e in as_given(v, begin, begin + RING)]
        return found

    def waited(self, away: int, rule: Rule = "stable", *, called_it: bool = False) -> Found:
        """A subject stays where it is, out of the frame for `away` segments at least, until the camera is back.

        `called_it`: neither words nor references tell what it looked like.
        """
        videos = self._videos(100 + away, 1, named=0.0, rule=rule)
        cols = self.grid.cols
        pans = -(-cols // 4)
        rest = max(0, away - pans)
        cameras: list[Camera] = [
            "holds",
            *_times("pans right", pans),
            *_times("holds", rest),
            *_times("pans left", pans),
        ]
        for video in videos:
            video.called_it = called_it
        self._film(videos, [[(["stays"], c) for c in cameras] for _ in videos])
        verdicts = [judge(video) for video in videos]
        name = f"waited {away}, {rule}" + (", called it" if called_it else "")
        return {
            f"{name}: place and identity": [v.place and v.identity for v in verdicts],
            f"{name}: nothing else": [not v.ghost for v in verdicts],
        }

    def first(self, subjects: int, named: float) -> Found:
        """First segments, everything exact, and whether two subjects were mistaken for each other."""
        rng = np.random.default_rng((self.seed, 10 * subjects + int(named)))
        videos = self._videos(200 + subjects, subjects, named=named)
        self._film(videos, [draw_plan(rng, video, [None]) for video in videos])
        verdicts = [judge(video) for video in videos]
        name = f"first segment, {subjects} {'named' if named else 'by reference'}"
        found = {name: [v.exact for v in verdicts], f"{name}: sky": [v.sky for v in verdicts]}
        if subjects > 1:
            found[f"{name}: swapped"] = [v.swapped for v in verdicts]
        return found

    def scene_reference(self) -> Found:
        """A panorama given: the cells that a first segment shows."""
        videos = self._videos(300, 1)
        rng = np.random.default_rng((self.seed, 301))
        for video in videos:
            video.panorama = True
        self._film(videos, [draw_plan(rng, video, [None]) for video in videos])
        return {"scene reference: cells as given": [e for video in videos for e in as_given(video)]}

    def directed(self, kind: Kind, subjects: int) -> Found:
        """One direction from a true history."""
        rng = np.random.default_rng((self.seed, len(kind), subjects))
        studio = Studio(self.engines, steps=self.steps, seed=self.seed + 2)
        exact: list[bool] = []
        for begin in range(0, self.cases, _BATCH):
            samples = [
                draw(rng, kind, self.grid, "stable", subjects=subjects, held_out=True)
                for _ in range(min(_BATCH, self.cases - begin))
            ]
            videos = [video_of(s.scene, s.nouns, self.grid, Take.at(0, s.past[-1].after.places)) for s in samples]
            for video, sample in zip(videos, samples, strict=True):
                studio.recall_truth(video, sample.past)
            studio.shoot(videos, [sample.target for sample in samples])
            exact += [judge(video).exact for video in videos]
        return {f"directed, {subjects} subject{'s' * (subjects - 1)}: {kind}": exact}

    def first_frame(self) -> Found:
        """A first frame given, of subjects that no words name: what it shows is directed."""
        videos = self._videos(350, 2, named=0.0)
        rng = np.random.default_rng((self.seed, 351))
        plans = [draw_plan(rng, video, [None]) for video in videos]
        studio = Studio(self.engines, steps=self.steps, seed=self.seed)
        for video in videos:
            video.called_it = True
            studio.recall_truth(video, [still(video.take.state)])
        self._film(videos, plans)
        return {"first frame given: subjects": [judge(video).exact for video in videos]}

    def chain(self) -> Found:
        """Eight directed segments with two subjects on the screen: segments right so far, and whole videos."""
        videos = self._videos(400, 2)
        rng = np.random.default_rng((self.seed, 401))
        self._film(videos, [draw_plan(rng, video, [None] * (CHAIN + 1)) for video in videos])
        segments: list[bool] = []
        whole: list[bool] = []
        for video in videos:
            right = [judge(video, i).exact for i in range(len(video.segments))]
            until = right.index(False) + 1 if False in right else len(right)
            segments += right[:until]
            whole.append(all(right))
        return {f"chain of {CHAIN}: segments": segments, f"chain of {CHAIN}: whole videos": whole}

    def long_chain(self, length: int) -> Found:
        """Identity and scenery at the end of a long mixed video."""
        videos = self._videos(500, 2)
        rng = np.random.default_rng((self.seed, 501))
        for video in videos:
            video.panorama = True
        self._film(videos, [draw_plan(rng, video, [None] * (length + 1)) for video in videos])
        return {
            f"chain of {length}: identity": [judge(video).identity for video in videos],
            f"chain of {length}: scenery": [e for v in videos for e in as_given(v, v.segments[-1][0])],
        }


def _times(camera: Camera, count: int) -> list[Camera]:
    return [camera] * count


def table(
    engines: Engines, measure: Callable[[Scorer], Iterator[Found]], *, cases: int, steps: int, seed: int
) -> Iterator[str]:
    """Markdown lines: each row over all canvases, `cases` videos of each."""
    yield "| row | n | % |"
    yield "|---|---|---|"
    scorers = [Scorer(engines, world.grid_of(c), cases, steps, seed) for c in world.CANVASES.values()]
    for rows in zip(*(measure(scorer) for scorer in scorers), strict=True):
        merged: defaultdict[str, list[bool]] = defaultdict(list)
        for found in rows:
            for name, values in found.items():
                merged[name] += values
        for name, values in merged.items():
            yield f"| {name} | {len(values)} | {100 * float(np.mean(values)) if values else float('nan'):.1f} |"


def quick(scorer: Scorer) -> Iterator[Found]:
    """What tells in a minute whether training is on its way."""
    yield from (scorer.first(2, named) for named in (1.0, 0.0))
    yield from (scorer.directed(kind, 2) for kind in ("turn", "along"))
    yield from (scorer.returned(1, given=given) for given in (True, False))
    yield scorer.waited(1)


def memory_rows(scorer: Scorer) -> Iterator[Found]:
    """Scenery that returns, and laps; with the other rules beside the one that ships."""
    for given in (True, False):
        yield from (scorer.returned(away, given=given) for away in AWAY)
        yield from (scorer.returned(16, given=given, rule=rule) for rule in RULES if rule != "stable")
    yield scorer.laps()
    yield scorer.laps("newest")


def waiting_rows(scorer: Scorer) -> Iterator[Found]:
    """Subjects that wait out of the frame; with the other rules, too, where memory alone knows what they were."""
    yield from (scorer.waited(away) for away in AWAY)
    yield from (scorer.waited(16, rule, called_it=True) for rule in RULES)


def directed_rows(scorer: Scorer) -> Iterator[Found]:
    """First segments, single directions, chains, a given scene."""
    yield from (scorer.first(subjects, named) for subjects in (1, 2) for named in (1.0, 0.0))
    yield from (scorer.directed(kind, subjects) for subjects in (1, 2) for kind in DIRECTED)
    yield scorer.chain()
    yield scorer.scene_reference()
    yield scorer.first_frame()


def long_rows(scorer: Scorer) -> Iterator[Found]:
    """Chains of 64 and of 256 segments."""
    yield from (scorer.long_chain(length) for length in LONG_CHAINS)


ROWS: Final[Mapping[str, Callable[[Scorer], Iterator[Found]]]] = {
    "quick": quick,
    "directed": directed_rows,
    "memory": memory_rows,
    "waiting": waiting_rows,
    "long": long_rows,
}


def main() -> None:
    """Score trained weights through their own torch modules."""
    parser = argparse.ArgumentParser(description="Score the sprite-2 model, row by row.")
    parser.add_argument("--weights", type=Path, required=True, help="folder of denoiser.safetensors, vae.safetensors")
    parser.add_argument("--rows", choices=list(ROWS), default="quick")
    parser.add_argument("--cases", type=int, default=8, help="videos of each row on each canvas")
    parser.add_argument("--steps", type=int, default=DEFAULT_STEPS)
    parser.add_argument("--seed", type=int, default=77)
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument("--device", default="cpu", help="cpu, or cuda")
    arguments = parser.parse_args()

    import torch

    from engines.families.sprite.training.modules import Modules

    torch.set_num_threads(arguments.threads)
    engines = Modules(arguments.weights, arguments.device)
    for line in table(engines, ROWS[arguments.rows], cases=arguments.cases, steps=arguments.steps, seed=arguments.seed):
        print(line, flush=True)


if __name__ == "__main__":
    main()
