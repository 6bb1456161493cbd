"""Training batches for the denoiser, made on the fly: every step sees fresh patterns.

Since the VAE's encoder is strictly local, a clip's latents are the background's latent everywhere and a
small window pasted at the sprite (2x2 tokens for a still, 2x3 along the motion).  Only the windows are
encoded.

    draw_root / draw_extension   what a sample shows, and with which conditions and caption
    Painter                      its latents
    Maker                        whole batches of tokens, for `train_dit`
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import torch
from torch import Tensor

from engines.families.base import Subject
from engines.families.sprite import captions, packing, world
from engines.families.sprite.training.train_vae import pixels
from engines.families.sprite.vae import Vae
from engines.families.sprite.world import F32, I64, U8

Kind = Literal["root", "extension"]

LANE_TOLD: Final = 0.95
CAPTION_DROPPED: Final = 0.04
MAX_START_LATENT: Final = 25
"""Extensions in training begin at latent 5 to this one: each phase of the longest bounce (10) comes twice."""
UNKNOWN: Final = -1
ATLAS_CLASSES: Final = 4 + 24 * 4
"""The tokens that a caption can name: four backgrounds, and each quadrant of the 24 named sprites."""
SLOT_CLASSES: Final = 5
"""A token shows one of the sprite's quadrants, or the background (4)."""


@dataclass(frozen=True)
class Sample:
    """One training video, and what of it the model is shown."""

    sprite: world.Sprite
    background: int
    direction: int
    start: int
    lane: int
    caption: str
    task: str
    """For the report: text, reference, frame or extension."""
    latents: tuple[int, ...]
    """Numbers of the latents that are painted: a root's five, or anchor, short and target of an extension."""
    reference: bool = False
    first_given: bool = False
    anchor: bool = False
    short: bool = False


def draw_root(rng: np.random.Generator, canvas: tuple[int, int]) -> Sample:
    """A video's first segment: from text (30 %), from a reference (55 %), from a given first frame."""
    u = rng.random()
    task = "text" if u < 0.3 else "reference" if u < 0.85 else "frame"
    by_name = task == "text" or rng.random() < (0.12 if task == "reference" else 0.4)
    reference = task == "reference" or (task == "frame" and rng.random() < 0.15)
    subject: Subject = "named" if by_name else "reference"
    if task == "frame" and rng.random() < 0.8:
        subject = "frame"
    elif task == "reference" and rng.random() < 0.7:
        subject = "reference"
    direction = int(rng.integers(4))
    along = world.along_and_across(canvas, direction)[0]
    start = int(rng.integers(along)) if task == "frame" else int(rng.random() < 0.4)
    return _draw(
        rng,
        canvas,
        by_name,
        subject,
        direction,
        start,
        task,
        tuple(range(5)),
        reference,
        first_given=task == "frame",
    )


def draw_extension(rng: np.random.Generator, canvas: tuple[int, int]) -> Sample:
    """Four latents further on in a video of any length; now and then a part of the history is missing."""
    by_name = rng.random() < 0.4
    reference = rng.random() < (0.15 if by_name else 0.65)
    subject: Subject = "named" if by_name else "reference"
    if rng.random() < 0.25:
        subject = "frame"
    direction = int(rng.integers(4))
    start = int(rng.integers(world.along_and_across(canvas, direction)[0]))
    newest = int(rng.integers(5, MAX_START_LATENT + 1))
    u = rng.random()
    return _draw(
        rng,
        canvas,
        by_name,
        subject,
        direction,
        start,
        "extension",
        (0, *range(newest - packing.SHORT_LATENTS, newest + packing.REST_LATENTS)),
        reference,
        anchor=not (u < 0.10 or 0.16 <= u < 0.18),
        short=not 0.10 <= u < 0.18,
    )


def _draw(
    rng: np.random.Generator,
    canvas: tuple[int, int],
    by_name: bool,
    subject: Subject,
    direction: int,
    start: int,
    task: str,
    latents: tuple[int, ...],
    reference: bool,
    *,
    first_given: bool = False,
    anchor: bool = False,
    short: bool = False,
) -> Sample:
    """Fill in sprite, background and lane, and write the caption."""
    sprite: world.Sprite = world.random_named(rng) if by_name else world.random_pattern(rng)
    background = int(rng.integers(4))
    while (
        subject == "named"
        and isinstance(sprite, world.Named)
        and world.combination_is_held_out((sprite.colour, sprite.shape, background, direction))
    ):
        sprite, background = world.random_named(rng), int(rng.integers(4))
    lane = int(rng.integers(3))
    reading = captions.Reading(
        colour=world.COLOUR_NAMES[sprite.colour] if isinstance(sprite, world.Named) else None,
        shape=world.SHAPE_NAMES[sprite.shape] if isinstance(sprite, world.Named) else None,
        background=world.BACKGROUND_NAMES[background],
        direction=world.DIRECTION_NAMES[direction],
        lane=world.LANE_NAMES[lane] if rng.random() < LANE_TOLD else None,
        inside="inside" if start == 1 and not first_given else None,
    )
    if subject == "frame":
        # What moves on from a foreign video may be told a wrong way: the history must win.
        told = int(rng.integers(4)) if short and rng.random() < 0.25 else direction
        reading = captions.Reading(direction=world.DIRECTION_NAMES[told])
    dropped = task != "text" and rng.random() < CAPTION_DROPPED
    return Sample(
        sprite=sprite,
        background=background,
        direction=direction,
        start=start,
        lane=world.lane_places(world.along_and_across(canvas, direction)[1])[lane],
        caption="" if dropped else captions.caption(reading, subject),
        task=task,
        latents=latents,
        reference=reference,
        first_given=first_given,
        anchor=anchor,
        short=short,
    )


@dataclass(frozen=True)
class Painted:
    """Latents of some samples and what their tokens show."""

    latents: F32
    """[B, K, 16, h, w], normalised."""
    foreground: F32
    """[B, K, h/2, w/2]: 1 where a token shows a piece of sprite."""
    slots: I64
    """[2, B, K, h/2, w/2]: the quadrant at the start and end of a token's four frames, 4 = background."""


class Painter:
    """Makes latents out of encoded windows."""

    def __init__(self, vae: Vae) -> None:
        self.vae = vae.eval()
        plain = np.broadcast_to(world.BACKGROUND_RGB[:, None, None, None], (4, 1, 8, 8, 3))
        self.plain = self.encode(plain)[:, :, 0, 0]

    @torch.no_grad()
    def encode(self, frames: U8) -> F32:
        """uint8 [N, 1 or 4, h, w, 3] -> the normalised latents [N, 16, h/8, w/8] of one latent each."""
        device = next(self.vae.parameters()).device
        groups = pixels(frames).to(device)
        if groups.shape[1] == 1:
            groups = groups.expand(-1, world.FRAMES_PER_LATENT, -1, -1, -1)
        with torch.autocast(device.type, torch.bfloat16):
            return self.vae.encode(groups).float().cpu().numpy()

    def paint(self, samples: Sequence[Sample], canvas: tuple[int, int]) -> Painted:
        """Latents of each sample's `latents`; all samples have equally many."""
        count, steps = len(samples), len(samples[0].latents)
        h, w = canvas[0] // world.LATENT_PX, canvas[1] // world.LATENT_PX
        plain = self.plain[[s.background for s in samples]]
        latents = np.tile(plain[:, None, :, None, None], (1, steps, 1, h, w))
        foreground = np.zeros((count, steps, h // 2, w // 2), np.float32)
        slots = np.full((2, count, steps, h // 2, w // 2), 4)
        stills = self.encode(np.stack([world.picture(s.sprite, s.background) for s in samples])[:, None])
        moving = self._moving(samples)
        quadrants = np.array([[0, 1], [2, 3]])
        for b, sample in enumerate(samples):
            numbers = np.array(sample.latents)
            frames = numbers * world.FRAMES_PER_LATENT
            ends = world.path(canvas, sample.direction, sample.start, sample.lane, frames) // world.TOKEN_PX
            before = frames - world.FRAMES_PER_LATENT
            begins = world.path(canvas, sample.direction, sample.start, sample.lane, before) // world.TOKEN_PX
            begins[numbers == 0] = ends[numbers == 0]
            for k, ((x0, y0), (x1, y1)) in enumerate(zip(begins, ends, strict=True)):
                window = stills[b] if numbers[k] == 0 else moving[b][int(x1 + y1 < x0 + y0)]
                slots[0, b, k, y0 : y0 + 2, x0 : x0 + 2] = quadrants
                slots[1, b, k, y1 : y1 + 2, x1 : x1 + 2] = quadrants
                x, y = min(x0, x1), min(y0, y1)
                tall, wide = window.shape[1:]
                latents[b, k, :, 2 * y : 2 * y + tall, 2 * x : 2 * x + wide] = window
                foreground[b, k, y : y + tall // 2, x : x + wide // 2] = 1
        return Painted(latents, foreground, slots)

    def _moving(self, samples: Sequence[Sample]) -> dict[int, tuple[F32, F32]]:
        """For each sample the window of one latent of motion, away from the origin and back towards it."""
        found: dict[int, tuple[F32, F32]] = {}
        frames = np.arange(1, world.FRAMES_PER_LATENT + 1) * world.SPEED_PX
        for horizontal in (True, False):
            chosen = [i for i, s in enumerate(samples) if (s.direction < 2) == horizontal]
            if not chosen:
                continue
            size = (32, 48) if horizontal else (48, 32)
            clips = []
            for along in (frames, world.TOKEN_PX - frames):
                zero = np.zeros_like(along)
                corners = np.stack([along, zero] if horizontal else [zero, along], 1)
                clips += [world.clip(samples[i].sprite, samples[i].background, size, corners) for i in chosen]
            away, back = np.split(self.encode(np.stack(clips)), 2)
            found.update({i: (away[n], back[n]) for n, i in enumerate(chosen)})
        return found


@dataclass(frozen=True)
class Batch:
    """What one training step needs; tokens as in `packing`, n tokens a latent, T target latents."""

    kind: Kind
    positions: packing.Positions
    token_ids: Tensor
    """int64 [B, 14]."""
    reference: Tensor
    """[B, 4, 64]."""
    anchor: Tensor | None
    """[B, n, 64], extensions only."""
    short: Tensor | None
    """[B, 2n, 64], extensions only."""
    target: Tensor
    """[B, T n, 64], clean."""
    foreground: Tensor
    """[B, T n]."""
    atlas: Tensor
    """int64 [2, B, T n]: which nameable token is shown at the start and at the end; UNKNOWN where none."""
    slots: Tensor
    """int64 [2, B, T n]."""
    present: Tensor
    """bool [B, 6]: the segments that the sample is shown."""
    first_given: Tensor
    """bool [B]."""
    tasks: tuple[str, ...]


class Maker:
    """Draws, paints and packs."""

    def __init__(self, vae: Vae) -> None:
        self.painter = Painter(vae)

    def batch(self, kind: Kind, count: int, canvas: tuple[int, int], rng: np.random.Generator) -> Batch:
        """`count` samples of one kind on one (height, width) canvas."""
        draw = draw_root if kind == "root" else draw_extension
        samples = [draw(rng, canvas) for _ in range(count)]
        painted = self.painter.paint(samples, canvas)
        pictures = [world.picture(s.sprite, int(rng.integers(4))) for s in samples]
        reference = self.painter.encode(np.stack(pictures)[:, None])
        tokens = packing.patchify(painted.latents).reshape(count, len(samples[0].latents), -1, packing.TOKEN_FEATURES)
        skip = 0 if kind == "root" else 1 + packing.SHORT_LATENTS
        names: tuple[packing.Segment, ...] = (
            ("reference", "first", "rest") if kind == "root" else ("reference", "anchor", "short", "rest")
        )
        present = [[True, s.reference, s.anchor, s.short, kind == "root", True] for s in samples]
        return Batch(
            kind=kind,
            positions=packing.positions(canvas[0] // world.LATENT_PX, canvas[1] // world.LATENT_PX, names),
            token_ids=torch.from_numpy(np.stack([captions.tokenize(s.caption) for s in samples])),
            reference=torch.from_numpy(packing.patchify(reference[:, None])),
            anchor=None if kind == "root" else _flat(tokens[:, :1]),
            short=None if kind == "root" else _flat(tokens[:, 1:skip]),
            target=_flat(tokens[:, skip:]),
            foreground=torch.from_numpy(painted.foreground[:, skip:].reshape(count, -1)),
            atlas=torch.from_numpy(_atlas(samples, painted.slots)[:, :, skip:].reshape(2, count, -1)),
            slots=torch.from_numpy(painted.slots[:, :, skip:].reshape(2, count, -1)),
            present=torch.tensor(present),
            first_given=torch.tensor([s.first_given for s in samples]),
            tasks=tuple(s.task for s in samples),
        )


def _flat(tokens: F32) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(tokens.reshape(len(tokens), -1, packing.TOKEN_FEATURES)))


def _atlas(samples: Sequence[Sample], slots: I64) -> I64:
    """The class of each token among those that a caption can name."""
    base = np.array(
        [4 + (s.sprite.colour * 4 + s.sprite.shape) * 4 if isinstance(s.sprite, world.Named) else -9 for s in samples]
    )[None, :, None, None, None]
    background = np.array([s.background for s in samples])[None, :, None, None, None]
    return np.where(slots == 4, background, np.maximum(base + slots, UNKNOWN))
