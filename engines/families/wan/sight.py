"""How Wan 2.1's image-to-video sees its first frame besides the frame's latent: by features of a CLIP encoder.

`architecture.py` reads what the checkpoint says of it, `image.py` prepares pictures by it. Features lie behind the
latents of their clip, in one array: wherever a clip goes and is kept, they are with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from PIL import Image

from engines.checkpoints.diffusers import Checkpoint
from engines.errors import CheckpointUnfit
from engines.families.base import Array, Frames
from engines.families.wan import values

ENCODER: Final = "image_encoder"
"""The component of the checkpoint, and its engine."""
_PROCESSOR: Final = "image_processor"
_FILE: Final = f"{_PROCESSOR}/preprocessor_config.json"
_PREPARED: Final[dict[str, Any]] = {
    "do_resize": True,
    "do_center_crop": True,
    "do_rescale": True,
    "do_normalize": True,
    "do_convert_rgb": True,
    "resample": 3,
    "rescale_factor": 1 / 255,
}
"""What `Sight.pixels` does; any other value of a checkpoint is refused and not ignored. So is a null, which libraries
take for one thing or the other."""
_MEAN: Final = [0.48145466, 0.4578275, 0.40821073]
_DEVIATION: Final = [0.26862954, 0.26130258, 0.27577711]
"""Of CLIP, where a configuration leaves them out."""


@dataclass(frozen=True)
class Sight:
    """What a checkpoint's image encoder takes and gives."""

    side: int
    """Of its square picture, in pixels."""
    tokens: int
    width: int
    mean: tuple[float, ...]
    deviation: tuple[float, ...]

    def pixels(self, picture: Frames) -> Array:
        """uint8 [H, W, 3] → the middle of it, [3, side, side], as the encoder was trained."""
        height, width = picture.shape[:2]
        short = min(height, width)
        size = (self.side * width // short, self.side * height // short)
        small = np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC), np.float32) / 255
        top, left = (size[1] - self.side) // 2, (size[0] - self.side) // 2
        middle = small[top : top + self.side, left : left + self.side]
        scaled = (middle - np.array(self.mean, np.float32)) / np.array(self.deviation, np.float32)
        return np.ascontiguousarray(np.moveaxis(scaled, -1, 0), np.float32)

    def behind(self, clip: Array, features: Array) -> Array:
        """A clip's latents [T, C, h, w] and features [tokens, width] → [T + n, C, h, w], the last ones filled up."""
        row = clip[0].size
        rows = -(-features.size // row)
        filled = np.zeros(rows * row, np.float32)
        filled[: features.size] = features.ravel()
        return np.concatenate([clip, filled.reshape(rows, *clip.shape[1:])])

    def apart(self, both: Array, latents: int) -> tuple[Array, Array]:
        """The inverse, for a clip of so many latents. Raises `ValueError` where there is less behind them."""
        features = both[latents:].reshape(-1)
        if len(features) < self.tokens * self.width:
            raise ValueError(f"first, short: a clip of {latents} latents with features behind it, as of `encode_clip`")
        return both[:latents], features[: self.tokens * self.width].reshape(self.tokens, self.width)


def read(found: Checkpoint) -> Sight:
    """What the checkpoint says. Raises `CheckpointUnfit` for another encoder, or pictures prepared otherwise."""
    encoder, processor = found.component(ENCODER), found.component(_PROCESSOR)
    if encoder.architecture != "CLIPVisionModel":
        raise CheckpointUnfit(f"{ENCODER}: {encoder.architecture}, where CLIPVisionModel is read; copy that")
    side, cell = int(encoder.config.get("image_size", 224)), int(encoder.config.get("patch_size", 32))
    width = int(encoder.config.get("hidden_size", 768))
    transformer = found.component("transformer").config
    if transformer.get("pos_embed_seq_len") is not None:
        raise CheckpointUnfit("transformer: of a first and a last frame (FLF2V), which is not read; take an I2V of Wan")
    if int(transformer["image_dim"]) != width:
        raise CheckpointUnfit(
            f"transformer: image_dim is {transformer['image_dim']}, where the {ENCODER} gives {width}; take both from "
            "one place"
        )
    if not processor.architecture.startswith("CLIPImageProcessor"):
        raise CheckpointUnfit(f"{_PROCESSOR}: {processor.architecture}, where CLIPImageProcessor is computed")
    _check(processor.config, side)
    mean, deviation = (
        values.numbers(_FILE, name, processor.config.get(name, usual), 3, least)
        for name, usual, least in (("image_mean", _MEAN, -values.LARGEST), ("image_std", _DEVIATION, values.LEAST))
    )
    return Sight(side, (side // cell) ** 2 + 1, width, mean, deviation)


def _check(config: Any, side: int) -> None:
    square = {"height": side, "width": side}
    wanted = {**_PREPARED, "size": {"shortest_edge": side}, "crop_size": square}
    for name, value in wanted.items():
        said = config.get(name, value)
        if isinstance(said, dict) and {key: one for key, one in said.items() if one} == value:
            continue
        close = isinstance(value, float) and isinstance(said, (int, float)) and abs(said - value) < 1e-6
        if said != value and not close:
            raise CheckpointUnfit(
                f"{_PROCESSOR}: {name} is {said!r}, and {value!r} is what is computed here; take the one that came "
                "with the checkpoint"
            )
