"""Which Wan a checkpoint is, and the sizes that follow: all read from its small files, without torch.

`family.py` asks before it serves one, `graphs.py` before it makes its modules.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeVar

from engines.checkpoints import diffusers
from engines.checkpoints.diffusers import Checkpoint
from engines.checkpoints.files import Files
from engines.errors import CheckpointUnfit
from engines.families.wan import schedule, sight, values
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

Understood = TypeVar("Understood", bound="Parts")
"""What becomes of a checkpoint."""


@dataclass(frozen=True)
class Parts:
    """A checkpoint of Wan's VAE and text encoder, and of whatever denoises between them, understood."""

    checkpoint: Checkpoint
    latent_channels: int
    latent_stride: int
    """Pixels of a latent, along height and along width."""
    frames_per_latent: int
    patch: tuple[int, int, int]
    """Latents of one token, along time, height and width."""
    text_width: int
    words: int
    """Tokens that the text encoder knows: ids are 0 or more, and below it."""
    pad_id: int
    """The token that fills up a prompt."""


@dataclass(frozen=True)
class Architecture(Parts):
    """One checkpoint of a Wan, understood."""

    task: Task
    condition_channels: int
    """Channels of what the denoiser is given beside the latents; 0 for none."""
    flow_shift: float
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
    return understood(files, _understood)


def understood(files: Files, how: Callable[[Checkpoint], Understood]) -> Understood:
    """What `how` makes of a checkpoint. Raises `CheckpointUnfit`, also for values that it stumbles over."""
    found = diffusers.inspect(files)
    try:
        return how(found)
    except (TypeError, ValueError, LookupError, ArithmeticError, AttributeError) as error:
        if isinstance(error, CheckpointUnfit):
            raise
        raise CheckpointUnfit(
            f"config.json of transformer, vae or an encoder: not the values of a {found.pipeline} ({error}); "
            "copy them again"
        ) from error


def parts_of(found: Checkpoint) -> Parts:
    """What is told of VAE, text encoder and patches. Raises `CheckpointUnfit` for others than Wan's, and for values
    that no such module computes with."""
    demand(found, "vae", "AutoencoderKLWan")
    demand(found, "text_encoder", "UMT5EncoderModel")
    transformer, vae = found.component("transformer").config, found.component("vae").config
    channels = int(vae.get("z_dim", 16))
    values.demand_scale(vae, channels)
    words, pad = values.ids_of(found.component("text_encoder").config)
    return Parts(
        checkpoint=found,
        latent_channels=channels,
        latent_stride=2 ** (len(vae.get("dim_mult", [1, 2, 4, 4])) - 1) * int(vae.get("patch_size") or 1),
        frames_per_latent=2 ** sum(map(bool, vae.get("temperal_downsample", [False, True, True]))),
        patch=values.patch_of(transformer),
        text_width=int(transformer.get("text_dim", 4096)),
        words=words,
        pad_id=pad,
    )


def _understood(found: Checkpoint) -> Architecture:
    task = task_of({"_class_name": found.pipeline, **found.options})
    boundary = _boundary(found, task)
    demand(found, "transformer", "WanVACETransformer3DModel" if task == "vace" else "WanTransformer3DModel")
    parts = parts_of(found)
    demand(found, "scheduler", "UniPCMultistepScheduler")
    transformer = found.component("transformer").config
    return Architecture(
        **vars(parts),
        task=task,
        condition_channels=_condition(
            task,
            transformer,
            channels=parts.latent_channels,
            stride=parts.latent_stride,
            frames=parts.frames_per_latent,
        ),
        flow_shift=schedule.shift_of(found.component("scheduler").config),
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
    demand(found, second, "WanTransformer3DModel")
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


def demand(found: Checkpoint, name: str, architecture: str) -> None:
    """Raises `CheckpointUnfit` for a component of another class."""
    component = found.component(name)
    if component.architecture != architecture:
        raise CheckpointUnfit(
            f"{name}: {component.architecture}, where a {found.pipeline} has {architecture} here; take one that has"
        )
