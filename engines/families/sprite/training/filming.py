"""Makes videos of any length, segment by segment and in batches, through whatever runs the model's graphs.

`score` films here. Each video knows where its directions have taken camera and subjects, what was drawn, and what is
remembered of it; the net is shown what `packing` packs, as in training.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

from engines.families.base import Engines
from engines.families.sprite import packing, reading, words
from engines.families.sprite.directing import Action, Camera, Take, perform, written_out
from engines.families.sprite.memory import Rule, Views, needed, recall
from engines.families.sprite.sampler import Remembered, Shot, sample
from engines.families.sprite.stage import Moment, Scene, still
from engines.families.sprite.world import (
    F32,
    FRAMES_PER_LATENT,
    I64,
    RING,
    SUBJECTS_MAX,
    U8,
    Art,
    Grid,
    painted,
    picture,
)

Direction = tuple[Sequence[Action | None], Camera]
"""What each subject does (None: it is not mentioned), and the camera."""
_ANY_SKY: Final = 9


@dataclass
class Video:
    """One video on its way."""

    scene: Scene
    """The truth of sky and subjects; its scenery is true only where it is given as `panorama`."""
    nouns: tuple[tuple[Art, int | None], ...]
    grid: Grid
    take: Take
    rule: Rule = "stable"
    panorama: bool = False
    """Whether the scenery is given, as a scene reference."""
    called_it: bool = False
    """Whether extensions call the subjects `it` and show no references: then memory alone knows what they are."""
    moments: list[Moment] = field(default_factory=list)
    latents: list[F32] = field(default_factory=list)
    """Tokens of each latent frame, [n, 64]."""
    labels: list[I64] = field(default_factory=list)
    """What the pixels show at the end of each latent frame, [2 rows, 2 cols]."""
    purity: list[F32] = field(default_factory=list)
    frames: list[U8] = field(default_factory=list)
    keep_frames: bool = False
    segments: list[tuple[int, int]] = field(default_factory=list)
    """The latents of each segment, from and to; a true history is one of them."""
    views: Views = field(init=False)

    def __post_init__(self) -> None:
        self.views = Views(self.rule)

    def direct(self, direction: Direction) -> tuple[Moment, ...]:
        """The moments that a direction asks for; the take goes on behind them."""
        actions, camera = direction
        begin = self.take.state
        done = written_out(self.take, actions, camera, self.grid)
        moments, self.take = perform(self.take, done, camera, self.grid)
        return moments if self.moments else (still(begin), *moments)

    def add(self, moments: Sequence[Moment], latents: F32, ends: U8) -> None:
        """Take in a segment: its latents as tokens, and the picture at the end of each."""
        begin = len(self.moments)
        self.segments.append((begin, begin + len(moments)))
        seen, purity = reading.labels(ends)
        self.labels += list(seen)
        self.purity += list(purity)
        self.latents += list(latents)
        for number, moment in enumerate(moments, begin):
            self.moments.append(moment)
            self.views.see(number, moment.after, np.split(self.scene.labels(moment, self.grid), self.grid.cols, 1))


class Studio:
    """Films videos of one canvas in batches."""

    def __init__(self, engines: Engines, *, steps: int, seed: int) -> None:
        self.engines = engines
        self.steps = steps
        self.rng = np.random.default_rng(seed)

    def shoot(self, videos: Sequence[Video], targets: Sequence[tuple[Moment, ...]]) -> None:
        """The next segment of each: its first one, or an extension. All are of one canvas."""
        shots = [self._plan(video, target) for video, target in zip(videos, targets, strict=True)]
        latents = sample(self.engines, shots, self.rng, self.steps)
        for video, shot, pixels, tokens in zip(videos, shots, self._develop(videos, latents), latents, strict=True):
            begin = len(video.moments)
            ends = pixels[FRAMES_PER_LATENT - 1 if begin else 0 :: FRAMES_PER_LATENT]
            video.add(shot.target, tokens, ends)
            if video.keep_frames:
                video.frames.append(pixels)

    def recall_truth(self, video: Video, past: Sequence[Moment]) -> None:
        """Give a video a history: what it would show if it were drawn without a fault."""
        frames = np.stack([video.scene.frames(moment, video.grid) for moment in past])
        values = np.moveaxis(frames.astype(np.float32) / 127.5 - 1, -1, 2)
        latents = _float(self.engines.infer("vae_encoder", {"frames": np.ascontiguousarray(values)})["latent"])
        video.add(past, packing.patchify(latents), frames[:, -1])

    def _plan(self, video: Video, target: tuple[Moment, ...]) -> Shot:
        is_root = not video.moments
        begin = target[0].before
        hidden = video.called_it and not is_root
        nouns = [("it", "<pad>") if hidden else words.noun(art, reference) for art, reference in video.nouns]
        columns = needed(None if is_root else begin, target, video.grid.cols)
        kept = recall(columns, video.views, [m.after for m in video.moments], video.grid.cols, self.rng)
        memory: list[Remembered] = []
        for column in columns:
            if column in kept:
                memory.append(self._view(video, column, kept[column]))
            elif video.panorama and column not in video.views.latents:
                memory.append(Remembered(column, 0, self._panorama(video, column)))
        return Shot(
            video.grid,
            words.write(nouns, target, video.scene.sky, video.grid),
            target,
            None if is_root else (video.moments[-1], video.latents[-1]),
            tuple(memory),
            self._references(video, hidden=hidden),
        )

    def _view(self, video: Video, column: int, number: int) -> Remembered:
        moment, grid = video.moments[number], video.grid
        frame = video.latents[number].reshape(grid.rows, grid.cols, -1)
        return Remembered(column, moment.pan, frame[:, (column - moment.after.offset) % RING])

    def _panorama(self, video: Video, column: int) -> F32:
        blocks = video.scene.panorama(video.grid)[:, 2 * column : 2 * column + 2]
        tokens: F32 = self.encode(painted(blocks)[None])[0]
        return tokens

    def _references(self, video: Video, *, hidden: bool) -> tuple[F32 | None, ...]:
        found: list[F32 | None] = [None] * SUBJECTS_MAX
        for subject, (art, reference) in enumerate(video.nouns):
            if reference is not None and not hidden:
                found[subject] = self.encode(picture(art, _ANY_SKY)[None])[0, 0]
        return tuple(found)

    def encode(self, pictures: U8) -> F32:
        """Stills [N, H, W, 3] as tokens [N, n, 64]."""
        frames = np.moveaxis(pictures.astype(np.float32) / 127.5 - 1, -1, 1)
        still_frames = np.repeat(frames[:, None], FRAMES_PER_LATENT, axis=1)
        return packing.patchify(_float(self.engines.infer("vae_encoder", {"frames": still_frames})["latent"]))

    def _develop(self, videos: Sequence[Video], tokens: F32) -> U8:
        """Decode a segment: [B, 17 or 16, H, W, 3]."""
        latents = packing.unpatchify(tokens, videos[0].grid)
        is_root = not videos[0].moments
        lead = (
            latents[:, 0]
            if is_root
            else packing.unpatchify(np.stack([video.latents[-1] for video in videos]), videos[0].grid)
        )
        first = self.engines.infer("vae_decoder_first", {"latent": np.ascontiguousarray(lead)})
        groups = [_float(first["frame"])] if is_root else []
        cache = first["cache"]
        for k in range(1 if is_root else 0, latents.shape[1]):
            found = self.engines.infer(
                "vae_decoder_step", {"latent": np.ascontiguousarray(latents[:, k]), "cache_in": cache}
            )
            groups.append(_float(found["frames"]))
            cache = found["cache"]
        frames = np.moveaxis(np.concatenate(groups, 1), 2, -1)
        pixels: U8 = np.clip(np.rint((frames + 1) * 127.5), 0, 255).astype(np.uint8)
        return pixels


def _float(values: npt.NDArray[np.generic]) -> F32:
    return np.asarray(values, np.float32)
