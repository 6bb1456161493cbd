"""Tiny Helios checkpoints with random weights, made by diffusers as the real ones are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from loadtests.compute import checkpoint
from tests.unit.engines.families.wan.checkpoints import DEVIATION, MEAN, TEXT, VAE

TRANSFORMER = {
    "num_attention_heads": 2,
    "attention_head_dim": 12,
    "in_channels": 4,
    "out_channels": 4,
    "text_dim": 24,
    "freq_dim": 16,
    "ffn_dim": 32,
    "num_layers": 2,
    "rope_dim": (4, 4, 4),
}
BESIDE: dict[str, dict[str, Any]] = {"loud": {"is_amplify_history": True}}
"""By checkpoint, what else a transformer has."""
SCHEDULERS: dict[str, dict[str, Any]] = {
    "shifted": {"use_dynamic_shifting": True, "time_shift_type": "linear"},
    "loud": {"use_dynamic_shifting": True},
    "euler": {"scheduler_type": "euler"},
}


def pipeline(kind: str = "shifted") -> Any:
    """The pipeline of a checkpoint, always with the same weights."""
    return checkpoint.pipeline(
        "HeliosPipeline",
        transformer=TRANSFORMER | BESIDE.get(kind, {}),
        vae={**VAE, "latents_mean": MEAN, "latents_std": DEVIATION},
        text_encoder=TEXT,
        scheduler=SCHEDULERS[kind],
    )


def save(folder: Path, kind: str = "shifted") -> None:
    """Its checkpoint, the weights in several shards."""
    pipeline(kind).save_pretrained(folder, max_shard_size="20KB")
