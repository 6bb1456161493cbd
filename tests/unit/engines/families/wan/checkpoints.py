"""Tiny Wan checkpoints with random weights, made by diffusers as the real ones are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from loadtests.compute import checkpoint

MEAN, DEVIATION = [0.1, -0.2, 0.3, 0.0], [1.5, 0.7, 2.0, 1.1]
KINDS = {
    "vace": "WanVACEPipeline",
    "image": "WanImageToVideoPipeline",
    "two of image": "WanImageToVideoPipeline",
    "5b of image": "WanImageToVideoPipeline",
}
"""By checkpoint, where it is not `WanPipeline`."""
OPTIONS: dict[str, dict[str, Any]] = {
    "text": {"expand_timesteps": False},
    # Wan 2.2 of 5B tells each token its time.
    "5b": {"expand_timesteps": True},
    "5b of image": {"expand_timesteps": True},
    "two of text": {"boundary_ratio": 0.875},
    "two of image": {"boundary_ratio": 0.9},
}
IMAGE = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "image_size": 28,
    "patch_size": 14,
    "hidden_act": "gelu",
}
"""What sees the picture beside Wan 2.1's image-to-video: five tokens."""
TEXT = {
    "vocab_size": 32,
    "d_model": 24,
    "d_kv": 8,
    "d_ff": 32,
    "num_layers": 2,
    "num_heads": 3,
    "relative_attention_num_buckets": 8,
    "relative_attention_max_distance": 16,
    "feed_forward_proj": "gated-gelu",
}
VAE = {"base_dim": 4, "z_dim": 4, "dim_mult": [1, 2, 2, 2], "num_res_blocks": 1}
VAE_OF_5B = {
    "decoder_base_dim": 8,
    "is_residual": True,
    "patch_size": 2,
    "in_channels": 12,
    "out_channels": 12,
    "scale_factor_spatial": 16,
}
TRANSFORMER = {
    "num_attention_heads": 2,
    "attention_head_dim": 12,
    "in_channels": 4,
    "out_channels": 4,
    "text_dim": 24,
    "freq_dim": 16,
    "ffn_dim": 32,
    "num_layers": 2,
    "rope_max_seq_len": 32,
}
BESIDE: dict[str, dict[str, Any]] = {
    "vace": {"vace_layers": [0, 1], "vace_in_channels": 72},
    "image": {"in_channels": 12, "image_dim": 16, "added_kv_proj_dim": 24},
    "two of image": {"in_channels": 12},
}
"""By checkpoint, what else a transformer has."""


def pipeline(task: str) -> Any:
    """The pipeline of a task ("text", "image", "vace"), or of Wan 2.2: "5b", which may be saved from two pipelines ("5b
    of image"), and with two denoisers "two of text", "two of image". Always with the same weights."""
    return checkpoint.pipeline(
        KINDS.get(task, "WanPipeline"),
        transformer=TRANSFORMER | BESIDE.get(task, {}),
        vae={**VAE, **(VAE_OF_5B if "5b" in task else {}), "latents_mean": MEAN, "latents_std": DEVIATION},
        text_encoder=TEXT,
        image_encoder=IMAGE if task == "image" else None,
        options=OPTIONS.get(task),
    )


def save(task: str, folder: Path) -> None:
    """Its checkpoint, the weights in several shards."""
    pipeline(task).save_pretrained(folder, max_shard_size="20KB")
