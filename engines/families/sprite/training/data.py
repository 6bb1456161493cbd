"""Training batches for the denoiser: drawn samples as look-ups in the table of all latents."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from engines.families.sprite import codes, packing, words
from engines.families.sprite.memory import Rule
from engines.families.sprite.packing import Part
from engines.families.sprite.stage import Moment, Scene
from engines.families.sprite.training.drawing import HOLDS, PANNED, Kind, Sample, draw
from engines.families.sprite.training.mistakes import misremembered
from engines.families.sprite.vae import Vae
from engines.families.sprite.world import FIRST_SKY, I64, LABELS, RING, SUBJECTS_MAX, Grid

MEMORY_COLUMNS: Final = 4
"""Columns that a pan of one segment brings into the frame."""
SCENE_GIVEN: Final = 0.4
"""Share of the batches of roots that are given a panorama."""
REFERENCE_DROPPED: Final = 0.4
NOUN_DROPPED: Final = 0.3
SKY_DROPPED: Final = 0.3
MEMORY_DROPPED: Final = 0.06
COLUMNS_DROPPED: Final = 0.06
NEWEST: Final = 0.3
"""Share of the histories that are remembered by the rule `newest`."""


@dataclass(frozen=True)
class Batch:
    """What one training step needs; S tokens beside the words, the target's T last."""

    ids: Tensor
    """int64 [B, 14]."""
    tokens: Tensor
    """[B, S, 64], clean."""
    places: Tensor
    """int64 [B, 14 + S, 2]: those of the words, too."""
    role: Tensor
    segment: Tensor
    """int64 [S]."""
    pan: Tensor
    """int64 [B, S]."""
    present: Tensor
    """[B, S]: 0 where a reference or a remembered column is missing."""
    lengths: tuple[int, ...]
    """Tokens of each of SEGMENTS."""
    labels: Tensor
    """int64 [B, T, 4]: what the blocks of each target token show at the latent's end."""
    subject: Tensor
    """int64 [B, T]: which subject stands there then, 0 for none."""
    weight: Tensor
    """[B, T]."""
    recalled: Tensor
    """bool [B, T]: scenery that is known from memory alone."""
    fresh: Tensor
    """bool [B, T]: scenery that has to be invented."""

    @property
    def count(self) -> int:
        """T."""
        return self.labels.shape[1]

    def to(self, device: str) -> Batch:
        """The same on a device."""
        tensors: dict[str, Any] = {n: value.to(device) for n, value in vars(self).items() if isinstance(value, Tensor)}
        return replace(self, **tensors)


def table(vae: Vae) -> Tensor:
    """The normalised latent of every code, [4010, 16]."""
    frames = torch.from_numpy(codes.pixels()).float().div_(127.5).sub_(1).movedim(-1, 2)
    with torch.no_grad():
        return vae.encode(frames)[:, :, 0, 0]


class Maker:
    """Draws and packs."""

    def __init__(self, latents: Tensor) -> None:
        self.latents = latents

    def root(self, count: int, grid: Grid, rng: np.random.Generator) -> Batch:
        """First segments."""
        columns = grid.cols + MEMORY_COLUMNS if rng.random() < SCENE_GIVEN else 0
        return self._pack([draw(rng, "root", grid, "stable") for _ in range(count)], columns, grid, rng)

    def extension(self, count: int, grid: Grid, rng: np.random.Generator, *, panned: bool) -> Batch:
        """Extensions while the camera holds, or pans."""
        kinds: tuple[Kind, ...] = PANNED if panned else HOLDS
        samples = []
        for _ in range(count):
            rule: Rule = "newest" if rng.random() < NEWEST else "stable"
            samples.append(draw(rng, kinds[int(rng.integers(len(kinds)))], grid, rule))
        return self._pack(samples, MEMORY_COLUMNS if panned else 0, grid, rng)

    def _pack(self, samples: list[Sample], columns: int, grid: Grid, rng: np.random.Generator) -> Batch:
        packed = [_packed(sample, columns, grid, rng) for sample in samples]
        first = packed[0]
        lengths = [words.SLOTS, *(0 for _ in packing.SEGMENTS[1:])]
        for part in first.parts:
            lengths[part.segment] = len(part.role)
        whole = torch.from_numpy(np.stack([p.codes for p in packed]))
        return Batch(
            ids=torch.from_numpy(np.stack([p.words.ids for p in packed])),
            tokens=self.latents[whole].flatten(2),
            places=_stacked([np.concatenate([p.words.stand, *(q.places for q in p.parts)]) for p in packed]),
            role=torch.from_numpy(np.concatenate([q.role for q in first.parts])),
            segment=torch.from_numpy(np.concatenate([np.full(len(q.role), q.segment) for q in first.parts])),
            pan=_stacked([np.concatenate([q.pan for q in p.parts]) for p in packed]),
            present=_stacked([p.present for p in packed]).float(),
            lengths=tuple(lengths),
            labels=_stacked([p.labels for p in packed]),
            subject=_stacked([p.subject for p in packed]),
            weight=_stacked([p.weight for p in packed]).float(),
            recalled=_stacked([p.recalled for p in packed]),
            fresh=_stacked([p.fresh for p in packed]),
        )


@dataclass(frozen=True)
class _Packed:
    words: words.Words
    parts: list[Part]
    codes: I64
    """[S, 4]"""
    present: I64
    labels: I64
    subject: I64
    weight: I64
    recalled: I64
    fresh: I64


def _packed(sample: Sample, columns: int, grid: Grid, rng: np.random.Generator) -> _Packed:
    """One sample as codes and positions; what it is not shown is drawn here."""
    is_root, scene, target = not sample.past, sample.scene, sample.target
    memory = _shown_memory(sample, columns, rng)
    nouns = [
        ("it", "<pad>") if not is_root and rng.random() < NOUN_DROPPED else words.noun(art, reference)
        for art, reference in sample.nouns
    ]
    told = is_root or rng.random() >= SKY_DROPPED
    with_references = is_root or rng.random() >= REFERENCE_DROPPED
    told_of = [
        noun[0] != "it" if number is None else with_references
        for noun, (_, number) in zip(nouns, sample.nouns, strict=True)
    ]
    history = scene if is_root else misremembered(scene, told_of, rng)
    short = sample.past[-1:]
    last = target[1] if is_root else target[0]
    parts = [packing.reference_part(last, grid)]
    shown = [_references(sample, rng, with_references)]
    present = [np.array([c[0, 0] >= 0 for c in shown[0]])]
    shown[0] = np.maximum(shown[0], 0)
    if columns:
        parts.append(packing.memory_part(*_padded(memory, columns), grid))
        shown.append(_columns(sample, history, memory, columns, grid))
        present.append(np.repeat(np.arange(columns) < len(memory), grid.rows))
    if not is_root:
        parts.append(packing.latent_part("short", short, grid))
        shown.append(_tokens(history.codes(short[0], grid)))
        present.append(np.ones(grid.rows * grid.cols, bool))
    parts.append(packing.latent_part("target", target, grid))
    shown += [_tokens(scene.codes(moment, grid)) for moment in target]
    present.append(np.ones(len(parts[-1].role), bool))
    known = set(memory) | (set() if is_root else set(short[0].after.view(grid.cols)))
    scenery = parts[-1].places[:, 1] == 0
    in_frame = np.isin(parts[-1].places[:, 0], list(set(memory))) & scenery
    subject, weight = _subjects(target, grid)
    return _Packed(
        words.write(nouns, target, scene.sky if told else None, grid),
        parts,
        np.concatenate(shown).reshape(-1, 4),
        np.concatenate(present),
        np.concatenate([_tokens(scene.labels(m, grid)) for m in target]).reshape(-1, 4),
        subject,
        np.where(scenery, 2, weight),
        in_frame,
        scenery & ~np.isin(parts[-1].places[:, 0], list(known)),
    )


def _shown_memory(sample: Sample, columns: int, rng: np.random.Generator) -> dict[int, Moment]:
    """The remembered columns that the net is shown: now and then none, or a part; of a panorama often a stretch."""
    if not columns:
        return {}
    u = rng.random()
    if not sample.past:
        return dict(list(sample.memory.items())[: columns if u < 0.6 else int(rng.integers(columns + 1))])
    if u < MEMORY_DROPPED:
        return {}
    keep = 1.0 if u >= MEMORY_DROPPED + COLUMNS_DROPPED else 0.6
    return {c: m for c, m in sample.memory.items() if rng.random() < keep}


def _padded(memory: dict[int, Moment], columns: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    missing = (0,) * (columns - len(memory))
    return (*memory, *missing), (*(m.pan for m in memory.values()), *missing)


def _columns(sample: Sample, history: Scene, memory: dict[int, Moment], columns: int, grid: Grid) -> I64:
    """Codes of the remembered columns, [columns rows, 2, 2]; those of a root are a panorama's, still."""
    found = np.zeros((columns, 2 * grid.rows, 2), np.int64)
    panorama = sample.scene.panorama(grid)
    frames = {} if not sample.past else {id(m): history.codes(m, grid) for m in memory.values()}
    for i, (column, moment) in enumerate(memory.items()):
        if sample.past:
            at = (column - moment.after.offset) % RING
            found[i] = frames[id(moment)][:, 2 * at : 2 * at + 2]
        else:
            found[i] = panorama[:, 2 * column : 2 * column + 2]
    return found.reshape(-1, 2, 2)


def _references(sample: Sample, rng: np.random.Generator, with_references: bool) -> I64:
    """Codes of the two references, [2, 2, 2]; -1 where there is none. A named subject's shows any sky."""
    found = np.full((SUBJECTS_MAX, 2, 2), -1)
    for subject, (art, number) in enumerate(sample.nouns):
        if number is not None and with_references:
            found[subject] = art.blocks(int(rng.integers(FIRST_SKY, LABELS)))
    return found


def _tokens(blocks: I64) -> I64:
    """A frame's blocks [2 rows, 2 cols] as tokens [n, 2, 2]."""
    rows, cols = blocks.shape
    return blocks.reshape(rows // 2, 2, cols // 2, 2).swapaxes(1, 2).reshape(-1, 2, 2)


def _subjects(target: tuple[Moment, ...], grid: Grid) -> tuple[I64, I64]:
    """For each token of the target which subject stands there at the end, and what an error there weighs."""
    subject = np.zeros((len(target), grid.rows, grid.cols), np.int64)
    weight = np.ones_like(subject)
    for t, moment in enumerate(target):
        for state in (moment.before, moment.after):
            for number in range(len(state.places)):
                col, row = state.column_on_screen(number), state.places[number][1]
                if col < grid.cols:
                    weight[t, row, col] = 4
                    if state is moment.after:
                        subject[t, row, col] = number + 1
    return subject.reshape(-1), weight.reshape(-1)


def _stacked(arrays: list[I64]) -> Tensor:
    return torch.from_numpy(np.stack(arrays))
