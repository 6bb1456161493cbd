"""What adapters may call the layers of a Wan's denoiser: as diffusers does, as Wan's own code does, as kohya does.

`family.py` tells them to who records or merges an adapter (`engines/checkpoints/adapters.py`). Layers and shapes are
those of the checkpoint's own weights, by their headers: nothing here needs torch.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from engines.checkpoints.adapters import Layer
from engines.families.wan.architecture import Architecture

_DENOISER: Final = "transformer"
"""The component of the checkpoint, and the attribute of the module `dit` (`graphs.Denoise`)."""
_OUTSIDE: Final = {
    "condition_embedder.time_embedder.linear_1": "time_embedding.0",
    "condition_embedder.time_embedder.linear_2": "time_embedding.2",
    "condition_embedder.text_embedder.linear_1": "text_embedding.0",
    "condition_embedder.text_embedder.linear_2": "text_embedding.2",
    "condition_embedder.time_proj": "time_projection.1",
    "condition_embedder.image_embedder.norm1": "img_emb.proj.0",
    "condition_embedder.image_embedder.ff.net.0.proj": "img_emb.proj.1",
    "condition_embedder.image_embedder.ff.net.2": "img_emb.proj.3",
    "condition_embedder.image_embedder.norm2": "img_emb.proj.4",
    "proj_out": "head.head",
    "scale_shift_table": "head.modulation",
}
"""What lies outside of the blocks, by diffusers' name: Wan's own."""
_INSIDE: Final = {
    "attn1": "self_attn",
    "attn2": "cross_attn",
    "to_q": "q",
    "to_k": "k",
    "to_v": "v",
    "to_out.0": "o",
    "add_k_proj": "k_img",
    "add_v_proj": "v_img",
    "norm_added_k": "norm_k_img",
    "ffn.net.0.proj": "ffn.0",
    "ffn.net.2": "ffn.2",
    "norm2": "norm3",
    "norm3": "norm2",
    "scale_shift_table": "modulation",
    "proj_in": "before_proj",
    "proj_out": "after_proj",
}
"""The same for parts of a name within a block."""


def layers(architecture: Architecture) -> dict[str, Layer]:
    """The denoiser's layers, by every name of each."""
    return {name: layer for path, layer in _layers(architecture) for name in _names(path)}


def _layers(architecture: Architecture) -> Iterator[tuple[str, Layer]]:
    """Diffusers' path of each, and the layer."""
    shards = architecture.checkpoint.component(_DENOISER).shards
    shapes = {tensor.name: tensor.shape for shard in shards for tensor in shard.tensors}
    for name, shape in shapes.items():
        path, _, last = name.rpartition(".")
        if last == "weight":
            yield path, Layer("dit", f"{_DENOISER}.{path}", shape, shapes.get(f"{path}.bias"))
        elif last != "bias":
            yield name, Layer("dit", f"{_DENOISER}.{name}", shape, alone=True)


def _names(path: str) -> Iterator[str]:
    original = _original(path)
    yield f"{_DENOISER}.{path}"
    yield f"diffusion_model.{original}"
    yield f"lora_unet_{original.replace('.', '_')}"


def _original(path: str) -> str:
    """Wan's own name of what diffusers calls so."""
    blocks, _, inside = path.partition(".")
    number, _, inside = inside.partition(".")
    if not (blocks.endswith("blocks") and number.isdigit()):
        return _OUTSIDE.get(path, path)
    if inside in _INSIDE:
        return f"{blocks}.{number}.{_INSIDE[inside]}"
    head, _, tail = inside.partition(".")
    return f"{blocks}.{number}.{_INSIDE.get(head, head)}.{_INSIDE.get(tail, tail)}"
