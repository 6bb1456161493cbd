"""Which Wan a checkpoint is, and the sizes that follow: all read from its small files, without torch.

`family.py` asks before it serves one, `graphs.py` before it makes its modules.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from engines.checkpoints import diffusers
from engines.checkpoints.diffusers import Checkpoint
from engines.checkpoints.files import Files
from engines.errors import CheckpointUnfit

Task = Literal["text", "image", "vace"]
"""What a checkpoint was trained for: text alone, text and a first frame, or references and known frames too."""
TEXT_TOKENS: Final = 512
"""Of a prompt, padded: what the models were trained with, and what image-to-video has built in."""
MAX_LATENTS: Final = 128
"""Of a segment, as far as the graphs go."""
TASKS: Final[dict[str, Task]] = {"WanPipeline": "text", "WanImageToVideoPipeline": "image", "WanVACEPipeline": "vace"}
"""By the pipeline that the checkpoint was saved from."""
_TRANSFORMERS: Final[dict[Task, str]] = {
    "text": "WanTransformer3DModel",
    "image": "WanTransformer3DModel",
    "vace": "WanVACETransformer3DModel",
}
_SCHEDULER: Final[dict[str, Any]] = {
    "prediction_type": "flow_prediction",
    "use_flow_sigmas": True,
    "solver_order": 2,
    "solver_type": "bh2",
    "predict_x0": True,
    "lower_order_final": True,
    "final_sigmas_type": "zero",
    "thresholding": False,
    "num_train_timesteps": 1000,
    "use_karras_sigmas": False,
    "use_exponential_sigmas": False,
    "use_beta_sigmas": False,
    "use_dynamic_shifting": False,
    "shift_terminal": None,
    "solver_p": None,
    "disable_corrector": [],
}
"""What `sampler.py` computes; any other value of a checkpoint is refused and not ignored."""
_UNSAID: Final[dict[str, Any]] = {"prediction_type": "epsilon", "use_flow_sigmas": False}
"""What a configuration means that leaves these out; of the others the default is what is computed."""


@dataclass(frozen=True)
class Architecture:
    """One checkpoint, understood."""

    checkpoint: Checkpoint
    task: Task
    latent_channels: int
    latent_stride: int
    """Pixels of a latent, along height and along width."""
    frames_per_latent: int
    patch: tuple[int, int, int]
    """Latents of one token, along time, height and width."""
    text_width: int
    condition_channels: int
    """Channels of what the denoiser is given beside the latents; 0 for text alone."""
    picture_width: int
    """Of the picture's features that Wan 2.1's image-to-video takes; 0 where there are none."""
    flow_shift: float
    pad_id: int
    """The token that fills up a prompt."""

    @property
    def sees_picture(self) -> bool:
        """Whether the denoiser takes features of a picture besides latents."""
        return self.picture_width > 0


def read(files: Files) -> Architecture:
    """Understand a checkpoint. Raises `CheckpointUnfit`, which says what is taken instead."""
    found = diffusers.inspect(files)
    try:
        return _understood(found)
    except (TypeError, ValueError, LookupError, ArithmeticError, AttributeError) as error:
        if isinstance(error, CheckpointUnfit):
            raise
        raise CheckpointUnfit(
            f"config.json of transformer, vae or text_encoder: not the values of a Wan ({error}); copy them again"
        ) from error


def _understood(found: Checkpoint) -> Architecture:
    task = TASKS.get(found.pipeline)
    if task is None:
        raise CheckpointUnfit(f"{diffusers.INDEX}: {found.pipeline} is no Wan that is read here: {', '.join(TASKS)}")
    if "transformer_2" in found.components:
        raise CheckpointUnfit(
            "transformer_2: two denoisers in turn (Wan 2.2 of 14B) are not read yet; take Wan 2.1, or Wan 2.2 of 5B"
        )
    _demand(found, "transformer", _TRANSFORMERS[task])
    _demand(found, "vae", "AutoencoderKLWan")
    _demand(found, "text_encoder", "UMT5EncoderModel")
    _demand(found, "scheduler", "UniPCMultistepScheduler")
    transformer, vae = found.component("transformer").config, found.component("vae").config
    channels = int(vae.get("z_dim", 16))
    temporal = vae.get("temperal_downsample", [False, True, True])
    shift = _schedule(found.component("scheduler").config)
    condition = {
        "text": 0,
        "image": int(transformer.get("in_channels", 16)) - channels,
        "vace": int(transformer.get("vace_in_channels", 96)),
    }[task]
    out = int(transformer.get("out_channels") or transformer.get("in_channels", 16))
    if out != channels:
        raise CheckpointUnfit(
            f"transformer: latents of {out} channels, where the vae has {channels}; take both from one place"
        )
    stride = 2 ** (len(vae.get("dim_mult", [1, 2, 4, 4])) - 1) * int(vae.get("patch_size") or 1)
    if task == "vace" and condition != 2 * channels + stride**2:
        raise CheckpointUnfit(
            f"transformer: vace_in_channels is {condition}, where latents of {channels} channels, twice, and a mask of "
            f"{stride}x{stride} pixels make {2 * channels + stride**2}; take both from one place"
        )
    patch = transformer.get("patch_size", [1, 2, 2])
    return Architecture(
        checkpoint=found,
        task=task,
        latent_channels=channels,
        latent_stride=stride,
        frames_per_latent=2 ** sum(map(bool, temporal)),
        patch=(int(patch[0]), int(patch[1]), int(patch[2])),
        text_width=int(transformer.get("text_dim", 4096)),
        condition_channels=condition,
        picture_width=int(transformer.get("image_dim") or 0),
        flow_shift=shift,
        pad_id=int(found.component("text_encoder").config.get("pad_token_id", 0)),
    )


def decoder_caches(architecture: Architecture) -> list[tuple[int, int]]:
    """What the decoder keeps for the next latent, convolution by convolution: channels, and how many times larger than
    a latent. As `AutoencoderKLWan` is built; each holds two frames."""
    vae = architecture.checkpoint.component("vae").config
    residual = bool(vae.get("is_residual", False))
    factors = [int(factor) for factor in vae.get("dim_mult", [1, 2, 4, 4])]
    base = int(vae.get("decoder_base_dim") or vae.get("base_dim", 96))
    widths = [base * factor for factor in (factors[-1], *reversed(factors))]
    found = [(architecture.latent_channels, 1), *[(widths[0], 1)] * 4]
    scale = 1
    for number, doubles in enumerate([*reversed(vae.get("temperal_downsample", [False, True, True])), None]):
        entering, width = widths[number], widths[number + 1]
        first = entering if residual or number == 0 else entering // 2
        blocks = int(vae.get("num_res_blocks", 2)) + 1
        found += [(first, scale), (width, scale), *[(width, scale)] * (2 * blocks - 2)]
        if doubles:
            found.append((width, scale))
        if doubles is not None:
            scale *= 2
    return [*found, (widths[-1], scale)]


def encoder_caches(architecture: Architecture) -> list[tuple[int, int, int]]:
    """The same of the encoder, between the frames of one latent and the next: channels, how many times larger than a
    latent, and frames: a temporal downsampler looks back upon one."""
    vae = architecture.checkpoint.component("vae").config
    factors = [int(factor) for factor in vae.get("dim_mult", [1, 2, 4, 4])]
    base, blocks = int(vae.get("base_dim", 96)), int(vae.get("num_res_blocks", 2))
    widths = [base, *(base * factor for factor in factors)]
    scale = 2 ** (len(factors) - 1)
    found = [(int(vae.get("in_channels", 3)), scale, 2)]
    for number, halves in enumerate([*vae.get("temperal_downsample", [False, True, True]), None]):
        entering, width = widths[number], widths[number + 1]
        found += [(entering, scale, 2), *[(width, scale, 2)] * (2 * blocks - 1)]
        if halves is not None:
            scale //= 2
        if halves:
            found.append((width, scale, 1))
    return [*found, *[(widths[-1], scale, 2)] * 5]


def _demand(found: Checkpoint, name: str, architecture: str) -> None:
    component = found.component(name)
    if component.architecture != architecture:
        raise CheckpointUnfit(
            f"{name}: {component.architecture}, where a {found.pipeline} has {architecture} here; take one that has"
        )


def _schedule(config: Mapping[str, Any]) -> float:
    """`flow_shift`, when all else is as `sampler.py` computes it."""
    for name, value in _SCHEDULER.items():
        said = config.get(name, _UNSAID.get(name, value))
        if said != value:
            raise CheckpointUnfit(
                f"scheduler: {name} is {said!r}, and {value!r} is what is computed here; "
                "change it in scheduler_config.json if the model allows it"
            )
    shift = float(config.get("flow_shift", 1.0))
    if not (math.isfinite(shift) and shift > 0):
        raise CheckpointUnfit(f"scheduler: flow_shift is {shift}; a number above 0, such as 3 for 480p and 5 for 720p")
    return shift
