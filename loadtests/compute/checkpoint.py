"""Wan and Helios checkpoints with random weights, of any size, made by diffusers as the real ones are.

The benchmark of engines makes one that is large enough to tell how fast it computes, tests make tiny ones. Needs the
extra `longtake[build]`.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any, Final

_SEED: Final = 7
_WORDS: Final = ("a", "cat", "dog", "runs", "sits", "red", "blurred", "over", "the", "hill")


def pipeline(
    kind: str,
    *,
    transformer: Mapping[str, Any],
    vae: Mapping[str, Any],
    text_encoder: Mapping[str, Any],
    image_encoder: Mapping[str, Any] | None = None,
    scheduler: Mapping[str, Any] | None = None,
    options: Mapping[str, Any] | None = None,
) -> Any:
    """A pipeline of diffusers (`WanPipeline`, `HeliosPipeline`, …) with modules of these configurations, in float32.

    The same arguments give the same weights. Its tokenizer knows a dozen words. With a `boundary_ratio` among its
    options it has two denoisers.
    """
    import diffusers
    import torch
    import transformers
    from transformers import UMT5Config, UMT5EncoderModel

    diffusers.utils.logging.set_verbosity_error()
    for library in (diffusers, transformers):
        library.utils.logging.disable_progress_bar()
    helios = kind.startswith("Helios")
    wan = diffusers.WanVACETransformer3DModel if "VACE" in kind else diffusers.WanTransformer3DModel
    denoiser = diffusers.HeliosTransformer3DModel if helios else wan
    torch.manual_seed(_SEED)
    parts = {
        "tokenizer": _tokenizer(),
        "text_encoder": UMT5EncoderModel(UMT5Config(**text_encoder)).eval(),
        "vae": diffusers.AutoencoderKLWan(**vae).eval(),
        "scheduler": of_helios(scheduler or {})
        if helios
        else diffusers.UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0),
        "transformer": denoiser(**transformer).eval(),
    }
    options = options or {}
    if "boundary_ratio" in options:
        parts["transformer_2"] = denoiser(**transformer).eval()
    if image_encoder is not None:
        side = image_encoder["image_size"]
        parts["image_encoder"] = transformers.CLIPVisionModel(transformers.CLIPVisionConfig(**image_encoder)).eval()
        parts["image_processor"] = transformers.CLIPImageProcessorPil(
            size={"shortest_edge": side}, crop_size={"height": side, "width": side}
        )
    made = getattr(diffusers, kind)(**parts, **options)
    made.set_progress_bar_config(disable=True)
    return made


def of_helios(options: Mapping[str, Any]) -> Any:
    import diffusers

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "__array_wrap__", DeprecationWarning)  # it asks numpy what torch answers
        return diffusers.HeliosScheduler(stages=1, stage_range=[0, 1], **options)


def _tokenizer() -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    words = {word: number for number, word in enumerate(("<pad>", "</s>", "<unk>", *_WORDS))}
    raw = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    raw.pre_tokenizer = pre_tokenizers.Whitespace()
    raw.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=raw, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", model_max_length=512
    )
