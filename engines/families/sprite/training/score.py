"""Scores the sprite model through its engines; `longtake models score` asks for it through the family.

Prompts, patterns and chains are drawn anew from a seed, sampled, decoded, and judged by `decode` from
pixels alone. Nothing here knows a runtime: whatever answers `infer` can be scored, so a test can hand in a
denoiser of noise and see every score fall to chance.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from engines.families.base import Engines, Subject
from engines.families.sprite import captions, packing, world
from engines.families.sprite.decode import Verdict, judge
from engines.families.sprite.training.sampling import (
    Given,
    decode_latents,
    encode_captions,
    encode_pictures,
    sample,
)
from engines.families.sprite.world import F32, U8

MARKS: Final = (1, 4, 16, 64)
"""After how many extensions a chain is judged."""
HISTORIES: Final = ("none", "short", "anchor", "both", "both + reference")
_BATCH: Final = 8


@dataclass(frozen=True)
class Scene:
    """One video to make, and the truth about it."""

    sprite: world.Sprite
    background: int
    direction: int
    start: int
    lane: int
    """Index of a lane word."""

    def text(self, subject: Subject) -> str:
        """Its canonical caption."""
        if subject == "frame":
            return captions.caption(captions.Reading(direction=world.DIRECTION_NAMES[self.direction]), subject)
        named = self.sprite if isinstance(self.sprite, world.Named) else None
        reading = captions.Reading(
            colour=world.COLOUR_NAMES[named.colour] if named else None,
            shape=world.SHAPE_NAMES[named.shape] if named else None,
            background=world.BACKGROUND_NAMES[self.background],
            direction=world.DIRECTION_NAMES[self.direction],
            lane=world.LANE_NAMES[self.lane],
            inside="inside" if self.start == 1 else None,
        )
        return captions.caption(reading, subject)

    def corners(self, canvas: tuple[int, int], frames: npt.ArrayLike) -> F32:
        """Where the sprite must stand at these frames of the video, [T, 2]."""
        lane = world.lane_places(world.along_and_across(canvas, self.direction)[1])[self.lane]
        return world.path(canvas, self.direction, self.start, lane, frames).astype(np.float32)


def named_cases(count: int, rng: np.random.Generator, *, held_out: bool) -> list[Scene]:
    """Combinations of attributes whose caption was, or was not, trained."""
    pool = [c for c in world.COMBINATIONS if world.combination_is_held_out(c) == held_out]
    order = np.concatenate([rng.permutation(len(pool)) for _ in range(-(-count // len(pool)))])[:count]
    return [
        Scene(world.Named(pool[i][0], pool[i][1]), pool[i][2], pool[i][3], int(n % 5 == 0), int(rng.integers(3)))
        for n, i in enumerate(order)
    ]


def pattern_cases(count: int, rng: np.random.Generator, colours: int | None = None) -> list[Scene]:
    """Patterns that were never trained, of 2 to 6 colours in turn or of so many."""
    return [
        Scene(
            world.random_pattern(rng, held_out=True, colours=colours or 2 + n % 5),
            int(rng.integers(4)),
            int(rng.integers(4)),
            int(n % 5 == 0),
            int(rng.integers(3)),
        )
        for n in range(count)
    ]


@dataclass(frozen=True)
class Made:
    """A root segment: its latents, and the verdict on its frames."""

    case: Scene
    latents: F32
    verdict: Verdict
    placed: bool
    """In 85 % of the frames it stands where the caption (or the first frame) says."""


def make_roots(
    engines: Engines,
    cases: Sequence[Scene],
    subject: Subject,
    canvas: tuple[int, int],
    rng: np.random.Generator,
    steps: int,
) -> Iterator[Made]:
    """Make a root segment of each case, as text, as reference or from its first frame."""
    for begin in range(0, len(cases), _BATCH):
        chosen = cases[begin : begin + _BATCH]
        given = Given(encode_captions(engines, [case.text(subject) for case in chosen]))
        if subject == "reference":
            given = replace(given, reference=encode_references(engines, chosen))
        if subject == "frame":
            clips = [world.clip(c.sprite, c.background, canvas, c.corners(canvas, [0]).astype(int)) for c in chosen]
            given = replace(given, first=encode_pictures(engines, np.concatenate(clips))[:, None])
        latents = sample(engines, given, canvas, packing.REST_LATENTS + 1, rng, steps)
        for case, latent, video in zip(chosen, latents, decode_latents(engines, latents, is_start=True), strict=True):
            verdict = judge(video, case.sprite, case.background, case.direction)
            yield Made(case, latent, verdict, _placed(verdict, case.corners(canvas, np.arange(len(video)))))


def encode_references(engines: Engines, cases: Sequence[Scene]) -> F32:
    """Latents of the cases' sprites as reference pictures, on black: [B, 16, 4, 4]."""
    return encode_pictures(engines, np.stack([world.picture(case.sprite, 3) for case in cases]))


def _placed(verdict: Verdict, corners: F32) -> bool:
    return bool(np.mean(np.abs(verdict.corners - corners).max(1) <= 3) >= 0.85)


@dataclass(frozen=True)
class Kept:
    """What one segment of a chain still shows of its root."""

    identity: bool
    background: bool
    velocity: bool
    placed: bool


def extend_chains(
    engines: Engines,
    roots: Sequence[Made],
    subject: Subject,
    history: str,
    canvas: tuple[int, int],
    rng: np.random.Generator,
    steps: int,
    extensions: int,
) -> dict[int, list[Kept]]:
    """Extend each root so often, and judge the segments at MARKS.  `history` is one of HISTORIES."""
    found: dict[int, list[Kept]] = {mark: [] for mark in MARKS if mark <= extensions}
    for begin in range(0, len(roots), _BATCH):
        chosen = roots[begin : begin + _BATCH]
        latents = np.stack([root.latents for root in chosen])
        cases = [root.case for root in chosen]
        given = Given(
            encode_captions(engines, [case.text(subject) for case in cases]),
            reference=encode_references(engines, cases) if history.endswith("reference") else None,
            anchor=latents[:, :1] if history.startswith(("anchor", "both")) else None,
        )
        for count in range(1, extensions + 1):
            newest = latents[:, -packing.SHORT_LATENTS :]
            given = replace(given, short=newest if history.startswith(("short", "both")) else None)
            made = sample(engines, given, canvas, packing.REST_LATENTS, rng, steps)
            if count in found:
                # The lead is decoded with what is new, so that the step across the seam is judged too.
                pair = np.concatenate([newest, made], 1)
                frames = decode_latents(engines, pair, is_start=False)
                found[count] += [_kept(v, c, canvas, count) for v, c in zip(frames, cases, strict=True)]
            latents = made
    return found


def _kept(video: U8, case: Scene, canvas: tuple[int, int], count: int) -> Kept:
    """Judge the last 16 frames of a video, of which those before are the lead."""
    length = packing.REST_LATENTS * world.FRAMES_PER_LATENT
    lead = judge(video[:-length], case.sprite, case.background, case.direction, is_start=False)
    verdict = judge(
        video[-length:],
        case.sprite,
        case.background,
        case.direction,
        is_start=False,
        previous=lead.corners[-1],
    )
    frames = 1 + length * count + np.arange(length)
    placed = _placed(verdict, case.corners(canvas, frames))
    return Kept(verdict.identity, verdict.background, verdict.velocity, placed)


def first_segments_table(engines: Engines, samples: int, steps: int, seed: int) -> Iterator[str]:
    """Markdown lines: accuracy of root segments."""
    yield "| root segments | canvas | n | colour | shape | identity | background | direction | place | all |"
    yield "|---|---|---|---|---|---|---|---|---|---|"
    for aspect, canvas in world.CANVASES.items():
        rng = np.random.default_rng(seed)
        rows: list[tuple[str, Subject, list[Scene]]] = [
            ("text, trained combinations", "named", named_cases(samples, rng, held_out=False)),
            ("text, combinations never trained", "named", named_cases(samples, rng, held_out=True)),
        ]
        for colours in range(2, 7):
            name = f"reference never trained, {colours} colours"
            rows.append((name, "reference", pattern_cases(samples, rng, colours)))
        rows.append(("reference of a named sprite", "reference", named_cases(samples, rng, held_out=True)))
        rows.append(("first frame, named sprite", "frame", named_cases(samples, rng, held_out=True)))
        rows.append(("first frame, pattern never trained", "frame", pattern_cases(samples, rng)))
        for name, subject, cases in rows:
            made = list(make_roots(engines, cases, subject, canvas, rng, steps))
            v = [m.verdict for m in made]
            shares = [
                *(
                    [x.colour for x in v],
                    [x.shape for x in v],
                    [x.identity for x in v],
                    [x.background for x in v],
                ),
                *([x.direction for x in v], [m.placed for m in made], [x.all for x in v]),
            ]
            yield f"| {name} | {aspect} | {len(made)} | " + " | ".join(_percent(s) for s in shares) + " |"


def chains_table(engines: Engines, chains: int, extensions: int, steps: int, seed: int) -> Iterator[str]:
    """Markdown lines: what is kept of the root after many extensions, by history."""
    marks = [mark for mark in MARKS if mark <= extensions]
    yield (
        "| extensions: identity / background / velocity / place kept | history | canvas | n | "
        + " | ".join(f"after {mark}" for mark in marks)
        + " |"
    )
    yield "|---" * (4 + len(marks)) + "|"
    for aspect, canvas in world.CANVASES.items():
        kinds: tuple[tuple[str, Subject], ...] = (
            ("named sprite", "named"),
            ("pattern never trained", "reference"),
        )
        for name, subject in kinds:
            rng = np.random.default_rng(seed + 1)
            cases = named_cases(chains, rng, held_out=True) if subject == "named" else pattern_cases(chains, rng)
            roots = list(make_roots(engines, cases, subject, canvas, rng, steps))
            for history in HISTORIES:
                if history.endswith("reference") and subject == "named":
                    continue
                kept = extend_chains(engines, roots, subject, history, canvas, rng, steps, extensions)
                cells = [
                    " / ".join(
                        _percent([getattr(k, part) for k in kept[mark]])
                        for part in ("identity", "background", "velocity", "placed")
                    )
                    for mark in marks
                ]
                yield f"| {name} | {history} | {aspect} | {len(roots)} | " + " | ".join(cells) + " |"


def _percent(values: Sequence[bool]) -> str:
    return f"{100 * float(np.mean(values)):.1f}".removesuffix(".0")


def report(
    engines: Engines, *, samples: int, chains: int, extensions: int = 64, steps: int = 8, seed: int = 1
) -> Iterator[str]:
    """Both tables, line by line as they are measured; percent of n videos."""
    if samples:
        yield from first_segments_table(engines, samples, steps, seed)
        yield ""
    if chains:
        yield from chains_table(engines, chains, extensions, steps, seed)
