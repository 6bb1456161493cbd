"""Which Wan a checkpoint is, and the sizes that follow: all read from its small files, without torch.

`family.py` asks before it serves one, `graphs.py` before it makes its modules.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from engines.checkpoints import diffusers
from engines.checkpoints.diffusers import Checkpoint
from engines.checkpoints.files import Files
from engines.errors import CheckpointUnfit
from engines.families.wan import schedule, sight
from engines.families.wan.sight import Sight
from engines.families.wan.unipc import TRAINED_TIMES

Task = Literal["text", "still", "image", "vace"]
"""What a checkpoint was trained for: text alone; text, with a first frame or without; text and always a first frame;
or references and known frames too."""
TEXT_TOKENS: Final = 512
"""Of a prompt, padded: what the models were trained with, and what image-to-video has built in."""
MAX_LATENTS: Final = 128
"""Of a segment, as far as the graphs go."""
_PIPELINES: Final[dict[str, Task]] = {
    "WanPipeline": "text",
    "WanImageToVideoPipeline": "image",
    "WanVACEPipeline": "vace",
}
"""By the pipeline that the checkpoint was saved from."""
_EXPANDS: Final = "expand_timesteps"
"""The option of a pipeline whose denoiser is told a time for each latent: what is known of a video has time 0."""
_BOUNDARY: Final = "boundary_ratio"
"""The option of a pipeline with two denoisers: the share of all times below which the second one denoises."""
_DENOISERS: Final = {"transformer": "dit", "transformer_2": "dit_2"}
"""By the component of a checkpoint, its engine."""


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
    """Channels of what the denoiser is given beside the latents; 0 for none."""
    flow_shift: float
    pad_id: int
    """The token that fills up a prompt."""
    sight: Sight | None = None
    """How the denoiser sees the first frame besides its latent: Wan 2.1's image-to-video does."""
    boundary: float = 0.0
    """The time of 0..1000 below which a second denoiser goes on, `dit_2`; 0 where there is one alone."""

    @property
    def denoisers(self) -> dict[str, str]:
        """By their components of the checkpoint, the engines that denoise; the one that begins is first."""
        return dict(list(_DENOISERS.items())[: 2 if self.boundary else 1])


def task_of(index: Mapping[str, Any]) -> Task:
    """What the `model_index.json` of a checkpoint says it was trained for. Raises `CheckpointUnfit` for no Wan."""
    pipeline = str(index.get("_class_name"))
    task = _PIPELINES.get(pipeline)
    if task is None:
        raise CheckpointUnfit(f"{diffusers.INDEX}: {pipeline} is no Wan that is read here: {', '.join(_PIPELINES)}")
    # One checkpoint (Wan 2.2 of 5B) may have been saved from either pipeline.
    return "still" if task in ("text", "image") and index.get(_EXPANDS) else task


def read(files: Files) -> Architecture:
    """Understand a checkpoint. Raises `CheckpointUnfit`, which says what is taken instead."""
    found = diffusers.inspect(files)
    try:
        return _understood(found)
    except (TypeError, ValueError, LookupError, ArithmeticError, AttributeError) as error:
        if isinstance(error, CheckpointUnfit):
            raise
        raise CheckpointUnfit(
            f"config.json of transformer, vae or an encoder: not the values of a Wan ({error}); copy them again"
        ) from error


def _understood(found: Checkpoint) -> Architecture:
    task = task_of({"_class_name": found.pipeline, **found.options})
    boundary = _boundary(found, task)
    _demand(found, "transformer", "WanVACETransformer3DModel" if task == "vace" else "WanTransformer3DModel")
    _demand(found, "vae", "AutoencoderKLWan")
    _demand(found, "text_encoder", "UMT5EncoderModel")
    _demand(found, "scheduler", "UniPCMultistepScheduler")
    transformer, vae = found.component("transformer").config, found.component("vae").config
    channels = int(vae.get("z_dim", 16))
    frames = 2 ** sum(map(bool, vae.get("temperal_downsample", [False, True, True])))
    stride = 2 ** (len(vae.get("dim_mult", [1, 2, 4, 4])) - 1) * int(vae.get("patch_size") or 1)
    patch = transformer.get("patch_size", [1, 2, 2])
    return Architecture(
        checkpoint=found,
        task=task,
        latent_channels=channels,
        latent_stride=stride,
        frames_per_latent=frames,
        patch=(int(patch[0]), int(patch[1]), int(patch[2])),
        text_width=int(transformer.get("text_dim", 4096)),
        condition_channels=_condition(task, transformer, channels=channels, stride=stride, frames=frames),
        flow_shift=schedule.shift_of(found.component("scheduler").config),
        pad_id=int(found.component("text_encoder").config.get("pad_token_id", 0)),
        sight=sight.read(found) if transformer.get("image_dim") else None,
        boundary=boundary,
    )


def _boundary(found: Checkpoint, task: Task) -> float:
    """Where the second denoiser goes on; 0 without one."""
    said, second = found.options.get(_BOUNDARY), "transformer_2"
    if second not in found.components:
        if said is not None:
            raise CheckpointUnfit(f"{diffusers.INDEX}: {_BOUNDARY} is {said}, and there is no {second}; copy it too")
        return 0.0
    if task not in ("text", "image"):
        raise CheckpointUnfit(f"{second}: a {found.pipeline} of this kind has one denoiser here; take one that has")
    if not isinstance(said, (int, float)) or not 0 < said < 1:
        raise CheckpointUnfit(
            f"{diffusers.INDEX}: {_BOUNDARY} is {said!r}; of two denoisers it says when the second goes on, as 0.9"
        )
    _demand(found, second, "WanTransformer3DModel")
    one, other = (_sizes(found.component(name).config) for name in ("transformer", second))
    if one != other:
        raise CheckpointUnfit(f"{second}: its config.json is not the transformer's; take both from one place")
    return float(said) * TRAINED_TIMES


def _sizes(config: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration without what it says of who wrote it."""
    return {name: value for name, value in config.items() if not name.startswith("_")}


def _condition(task: Task, transformer: Mapping[str, Any], *, channels: int, stride: int, frames: int) -> int:
    """Channels that the denoiser takes beside the latents' own, when they are what is made here."""
    given = int(transformer.get("in_channels", 16))
    out = int(transformer.get("out_channels") or given)
    if out != channels:
        raise CheckpointUnfit(
            f"transformer: latents of {out} channels, where the vae has {channels}; take both from one place"
        )
    known = frames + channels if task == "image" else 0
    if given != channels + known:
        raise CheckpointUnfit(
            f"transformer: in_channels is {given}, where its pipeline gives it {channels + known}; take "
            "model_index.json and config.json from one place"
        )
    if task != "vace":
        return known
    control = int(transformer.get("vace_in_channels", 96))
    if control != 2 * channels + stride**2:
        raise CheckpointUnfit(
            f"transformer: vace_in_channels is {control}, where latents of {channels} channels, twice, and a mask of "
            f"{stride}x{stride} pixels make {2 * channels + stride**2}; take both from one place"
        )
    return control


def _demand(found: Checkpoint, name: str, architecture: str) -> None:
    component = found.component(name)
    if component.architecture != architecture:
        raise CheckpointUnfit(
            f"{name}: {component.architecture}, where a {found.pipeline} has {architecture} here; take one that has"
        )
