"""The modules of a Wan checkpoint with their weights, tensor by tensor from wherever its files lie.

`graphs.py` calls it. Weights come as safetensors through `engines/checkpoints` and never as pickles, whatever diffusers
and transformers could read; each shard's digest is checked as it goes by. Modules compute in float32.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import torch
from diffusers import AutoencoderKLWan, WanTransformer3DModel, WanVACETransformer3DModel
from torch import Tensor, nn
from transformers import CLIPVisionConfig, CLIPVisionModel, UMT5Config, UMT5EncoderModel

from engines.checkpoints import diffusers
from engines.checkpoints.diffusers import Checkpoint
from engines.checkpoints.files import Files
from engines.errors import CheckpointUnfit

DENOISERS: Final = (WanTransformer3DModel, WanVACETransformer3DModel)
_TYPES: Final = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
_UNUSED: Final = ("norm_added_q", "position_ids")
"""In the names of tensors that image-to-video checkpoints have and no module of diffusers or transformers."""
_WITHIN: Final = "vision_model."
"""What the names of an image encoder's tensors begin with where it was saved as a part of CLIP."""


class Modules:
    """Makes a checkpoint's modules. Raises `CheckpointUnfit` where weights do not fit their configuration."""

    def __init__(self, files: Files, checkpoint: Checkpoint, digests: Mapping[str, str]) -> None:
        """`digests` are those that `diffusers.record` found."""
        self._files = files
        self._checkpoint = checkpoint
        self._digests = digests

    def transformer(self, name: str = "transformer", kinds: Sequence[Any] = DENOISERS) -> nn.Module:
        """The component of this name, which is of one of these classes of diffusers."""
        component = self._checkpoint.component(name)
        (kind,) = (kind for kind in kinds if kind.__name__ == component.architecture)
        module: nn.Module = kind.from_config(dict(component.config))
        return self._filled(name, module)

    def vae(self) -> AutoencoderKLWan:
        """`AutoencoderKLWan`."""
        config = dict(self._checkpoint.component("vae").config)
        module: AutoencoderKLWan = AutoencoderKLWan.from_config(config)
        self._filled("vae", module)
        return module

    def text_encoder(self) -> nn.Module:
        """`UMT5EncoderModel`."""
        config = UMT5Config(**self._checkpoint.component("text_encoder").config)
        # The exporter takes the plain arithmetic best; the other ways are the same numbers for GPUs.
        config._attn_implementation = "eager"  # noqa: SLF001
        module: nn.Module = UMT5EncoderModel(config)
        return self._filled("text_encoder", module)

    def image_encoder(self) -> CLIPVisionModel:
        """`CLIPVisionModel`."""
        config = CLIPVisionConfig(**self._checkpoint.component("image_encoder").config)
        config._attn_implementation = "eager"  # noqa: SLF001  (as above)
        module = CLIPVisionModel(config)
        self._filled("image_encoder", module)
        return module

    def _filled(self, name: str, module: nn.Module) -> nn.Module:
        """The module with the component's weights, ready to infer."""
        places: dict[str, Tensor] = module.state_dict(keep_vars=True)
        filled: set[int] = set()
        for tensor, data in diffusers.stream(self._files, self._checkpoint.component(name), self._digests):
            place = places.get(tensor.name, places.get(tensor.name.removeprefix(_WITHIN)))
            if place is None and any(part in tensor.name for part in _UNUSED):
                continue
            if place is None or place.shape != tensor.shape:
                wanted = "no such tensor" if place is None else f"one of {list(place.shape)}"
                raise CheckpointUnfit(
                    f"{name}: {tensor.name} {list(tensor.shape)}, where its config.json makes {wanted}; "
                    "copy config.json and weights from one place"
                )
            if tensor.parameters:
                value = torch.frombuffer(bytearray(data), dtype=_TYPES[tensor.dtype]).reshape(tensor.shape)
                place.data.copy_(value)
            filled.add(id(place))
        # One tensor may go by two names; a file has it under one of them.
        missing = [key for key, place in places.items() if id(place) not in filled]
        if missing:
            raise CheckpointUnfit(f"{name}: no weights for {missing[0]}; copy the checkpoint again, whole")
        return module.eval().requires_grad_(requires_grad=False)
