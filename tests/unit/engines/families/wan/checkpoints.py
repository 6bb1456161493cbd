"""Tiny Wan checkpoints with random weights, made by diffusers as the real ones are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

WORDS = ("a", "cat", "dog", "runs", "sits", "red", "blurred", "over", "the", "hill")
MEAN, DEVIATION = [0.1, -0.2, 0.3, 0.0], [1.5, 0.7, 2.0, 1.1]


def pipeline(task: str) -> Any:
    """The pipeline of a task ("text", "image", "vace"), or "5b", a text's of Wan 2.2; always with the same weights."""
    import diffusers
    import torch
    from transformers import UMT5Config, UMT5EncoderModel

    diffusers.utils.logging.set_verbosity_error()
    diffusers.utils.logging.disable_progress_bar()
    torch.manual_seed(7)
    config = UMT5Config(
        vocab_size=32,
        d_model=24,
        d_kv=8,
        d_ff=32,
        num_layers=2,
        num_heads=3,
        relative_attention_num_buckets=8,
        relative_attention_max_distance=16,
        feed_forward_proj="gated-gelu",
    )
    parts = {
        "tokenizer": _tokenizer(),
        "text_encoder": UMT5EncoderModel(config).eval(),
        "vae": _vae(task).eval(),
        "scheduler": diffusers.UniPCMultistepScheduler(
            prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0
        ),
        "transformer": _transformer(task).eval(),
    }
    if task == "vace":
        return diffusers.WanVACEPipeline(**parts)
    if task == "image":
        return diffusers.WanImageToVideoPipeline(**parts)
    # Wan 2.2 of 5B tells each token its time, and of a video from text it is the same for all.
    return diffusers.WanPipeline(**parts, expand_timesteps=task == "5b")


def save(task: str, folder: Path) -> None:
    """Its checkpoint, the weights in several shards."""
    pipeline(task).save_pretrained(folder, max_shard_size="20KB")


def _vae(task: str) -> Any:
    import diffusers

    sizes = {"base_dim": 4, "z_dim": 4, "dim_mult": [1, 2, 2, 2], "num_res_blocks": 1}
    own = {"decoder_base_dim": 8, "is_residual": True, "patch_size": 2, "in_channels": 12, "out_channels": 12}
    if task == "5b":
        sizes |= {**own, "scale_factor_spatial": 16}
    return diffusers.AutoencoderKLWan(**sizes, latents_mean=MEAN, latents_std=DEVIATION)


def _transformer(task: str) -> Any:
    import diffusers

    sizes = {
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
    if task == "vace":
        return diffusers.WanVACETransformer3DModel(**sizes, vace_layers=[0, 1], vace_in_channels=72)
    if task == "image":
        return diffusers.WanTransformer3DModel(**{**sizes, "in_channels": 12}, image_dim=16, added_kv_proj_dim=24)
    return diffusers.WanTransformer3DModel(**sizes)


def _tokenizer() -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    words = {word: number for number, word in enumerate(("<pad>", "</s>", "<unk>", *WORDS))}
    raw = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    raw.pre_tokenizer = pre_tokenizers.Whitespace()
    raw.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=raw, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", model_max_length=512
    )
