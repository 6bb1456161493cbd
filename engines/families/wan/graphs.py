"""The graphs of a Wan checkpoint: diffusers' and transformers' own modules, behind faces that an exporter can take.

Their modules export as they are, with every size left open, so there is no second definition of the networks here that
could differ from the one that was trained. `family.py` hands `components()` to `engines/building`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.export import Dim
from transformers import CLIPVisionModel

from engines.checkpoints.files import Files
from engines.families.graph import GraphSpec
from engines.families.wan import attention, times
from engines.families.wan import vae as steppers
from engines.families.wan.architecture import MAX_LATENTS, TEXT_TOKENS, Architecture, Parts
from engines.families.wan.preview import fitted
from engines.families.wan.sight import ENCODER, Sight
from engines.families.wan.weights import Modules


class EncodeText(nn.Module):
    """Token ids and mask [B, 512] to text [B, 512, D], zero where there is no token: the denoiser takes no mask."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, token_ids: Tensor, mask: Tensor) -> Tensor:
        """Encode."""
        text = self.encoder(token_ids, mask).last_hidden_state
        return cast(Tensor, text * mask[:, :, None].to(text.dtype))


class EncodePicture(nn.Module):
    """A picture as `sight.Sight` prepares it, [B, 3, S, S], to features [B, tokens, D], those before the last layer."""

    def __init__(self, encoder: CLIPVisionModel) -> None:
        super().__init__()
        self.embeddings, self.norm = encoder.embeddings, encoder.pre_layrnorm
        self.layers = encoder.encoder.layers[:-1]

    def forward(self, pixels: Tensor) -> Tensor:
        """Encode."""
        states = self.norm(self.embeddings(pixels))
        for layer in self.layers:
            states = layer(states, None)
        return cast(Tensor, states)


class Denoise(nn.Module):
    """Latents [B, C, T, h, w] at a time [B] of 0..1000 and text [B, 512, D] to velocity [B, C, T, h, w].

    `conditions` are what the checkpoint was trained with: for image-to-video the known frames beside their mask
    [B, 4 + C, T, h, w] and, in Wan 2.1, the picture's features; for VACE the control latents. A denoiser of the task
    "still" takes a time for each latent, [B, T].
    """

    def __init__(self, transformer: nn.Module, architecture: Architecture) -> None:
        super().__init__()
        attention.put_into(transformer)
        self.transformer = transformer
        self.task = architecture.task
        self.sees_picture = architecture.sight is not None

    def forward(self, latents: Tensor, time: Tensor, text: Tensor, *conditions: Tensor) -> Tensor:
        """One step's prediction."""
        named: dict[str, Tensor] = {}
        if self.task == "still":
            return times.denoised(self.transformer, latents, time, text)
        if self.task == "image":
            latents = torch.cat([latents, conditions[0]], 1)
        if self.sees_picture:
            named["encoder_hidden_states_image"] = conditions[1]
        if self.task == "vace":
            named["control_hidden_states"] = conditions[0]
        return cast(Tensor, self.transformer(latents, time, text, return_dict=False, **named)[0])


def components(files: Files, architecture: Architecture, digests: Mapping[str, str]) -> dict[str, GraphSpec]:
    """The graphs of all that this checkpoint does, with its weights, each shard's digest checked."""
    modules = Modules(files, architecture.checkpoint, digests)
    denoisers = {
        engine: _dit(Denoise(modules.transformer(name), architecture), architecture)
        for name, engine in architecture.denoisers.items()
    }
    found = around(modules, architecture, denoisers, encodes=architecture.task != "text")
    if architecture.sight is not None:
        found[ENCODER] = _picture(EncodePicture(modules.image_encoder()), architecture.sight)
    return found


def around(
    modules: Modules, architecture: Parts, denoisers: Mapping[str, GraphSpec], *, encodes: bool
) -> dict[str, GraphSpec]:
    """The denoisers, and what is the same whatever denoises: text encoder, decoder, preview, and an encoder of frames
    where it `encodes` any."""
    text, vae = modules.text_encoder(), modules.vae()
    return {
        "text_encoder": _text(EncodeText(text)),
        **denoisers,
        **_decoder(steppers.DecodeFirst(vae), steppers.DecodeStep(vae), architecture),
        "preview": _preview(steppers.EncodeFirst(vae).eval(), architecture),
        **(_encoder(steppers.EncodeFirst(vae), steppers.EncodeStep(vae), architecture) if encodes else {}),
    }


def _text(module: nn.Module) -> GraphSpec:
    ids = torch.ones(2, TEXT_TOKENS, dtype=torch.int64)
    batch = {0: Dim("B", min=1, max=64)}
    kept = float32_of(module)
    return GraphSpec(module.eval(), (ids, ids.clone()), ("token_ids", "mask"), ("text",), (batch, batch), kept)


def _dit(module: Denoise, architecture: Architecture) -> GraphSpec:
    frames, height, width = 3, 4, 6
    channels = architecture.latent_channels
    time = torch.tensor([900.0, 400.0])
    inputs = {
        "latents": torch.randn(2, channels, frames, height, width),
        "time": time[:, None].repeat(1, frames) if architecture.task == "still" else time,
        "text": torch.randn(2, TEXT_TOKENS, architecture.text_width),
    }
    if architecture.condition_channels:
        inputs["condition"] = torch.randn(2, architecture.condition_channels, frames, height, width)
    if architecture.sight is not None:
        inputs["picture"] = torch.randn(2, architecture.sight.tokens, architecture.sight.width)
    # Whole patches: a size that is not a multiple of one is no input at all.
    _, tall, wide = architecture.patch
    batch, places = Dim("B", min=1, max=16), _places(module)
    video = {
        0: batch,
        2: Dim("T", min=1, max=min(MAX_LATENTS, places)),
        3: tall * Dim("rows", min=1, max=min(256, places)),
        4: wide * Dim("cols", min=1, max=min(256, places)),
    }
    dims = {name: video if name in ("latents", "condition") else {0: batch} for name in inputs}
    if architecture.task == "still":
        dims["time"] = {0: batch, 1: video[2]}
    shapes, kept = tuple(dims.values()), float32_of(module)
    return GraphSpec(module.eval(), tuple(inputs.values()), tuple(inputs), ("velocity",), shapes, kept)


def _places(module: nn.Module) -> int:
    """How many places along each axis the model has rotary positions for."""
    configs = (getattr(part, "config", {}) for part in module.modules())
    return min(int(config["rope_max_seq_len"]) for config in configs if "rope_max_seq_len" in config)


def float32_of(module: nn.Module) -> tuple[str, ...]:
    """What diffusers and transformers say of their models: these parts are never computed in half."""
    lists = (getattr(part, "_keep_in_fp32_modules", None) or () for part in module.modules())
    return tuple(dict.fromkeys(name for names in lists for name in names))


def _picture(module: nn.Module, sight: Sight) -> GraphSpec:
    pixels = torch.randn(2, 3, sight.side, sight.side)
    return GraphSpec(module.eval(), (pixels,), ("pixels",), ("picture",), ({0: Dim("B", min=1, max=16)},))


def _decoder(first: nn.Module, step: nn.Module, architecture: Parts) -> dict[str, GraphSpec]:
    latent = torch.randn(2, architecture.latent_channels, 4, 6)
    return {
        "vae_decoder_first": _begin(first, "latent", latent, "frames"),
        "vae_decoder_step": _go_on(first, step, ("latent", latent, latent), "frames"),
    }


def _encoder(first: nn.Module, step: nn.Module, architecture: Parts) -> dict[str, GraphSpec]:
    stride = architecture.latent_stride
    frames = torch.rand(2, architecture.frames_per_latent, 3, 4 * stride, 6 * stride) * 2 - 1
    opening = frames[:, :1]
    return {
        "vae_encoder_first": _begin(first, "frames", opening, "latent"),
        "vae_encoder_step": _go_on(first, step, ("frames", opening, frames), "latent"),
    }


def _preview(encoder: nn.Module, architecture: Parts) -> GraphSpec:
    module = fitted(lambda pictures: cast(Tensor, encoder(pictures[:, None])[0]), architecture.latent_stride)
    latent = torch.randn(2, architecture.latent_channels, 4, 6)
    return GraphSpec(module.eval(), (latent,), ("latent",), ("picture",), (_sizes([latent])[0],))


def _begin(module: nn.Module, name: str, value: Tensor, result: str) -> GraphSpec:
    count = len(_caches(module, value))
    outputs = (result, *(f"cache_{number}" for number in range(count)))
    return GraphSpec(module.eval(), (value,), (name,), outputs, (_sizes([value])[0],))


def _go_on(first: nn.Module, step: nn.Module, given: tuple[str, Tensor, Tensor], result: str) -> GraphSpec:
    """`given`: the input's name, what `first` takes of it, and what `step` takes."""
    name, opening, value = given
    caches = _caches(first, opening)
    numbers = range(len(caches))
    return GraphSpec(
        step.eval(),
        (value, *caches),
        (name, *(f"cache_{number}_in" for number in numbers)),
        (result, *(f"cache_{number}" for number in numbers)),
        tuple(_sizes([value, *caches])),
    )


def _caches(first: nn.Module, value: Tensor) -> Sequence[Tensor]:
    with torch.no_grad():
        return cast(Sequence[Tensor], first.eval()(value)[1:])


def _sizes(values: Sequence[Tensor]) -> list[dict[int, Any]]:
    """Each value's open sizes: the batch, and height and width as so many times the latent's as in the examples."""
    batch, height, width = Dim("B", min=1, max=16), Dim("h", min=2, max=256), Dim("w", min=2, max=256)
    found = []
    for value in values:
        scale = value.shape[-2] // 4
        tall, wide = (height, width) if scale == 1 else (scale * height, scale * width)
        found.append({0: batch, value.ndim - 2: tall, value.ndim - 1: wide})
    return found
