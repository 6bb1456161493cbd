"""Weights of the model that ships as they are before any training: as many as `denoiser.BLOCKS` says at the moment."""

from __future__ import annotations

from pathlib import Path


def untrained(folder: Path) -> None:
    """Fill a new folder. Needs torch."""
    import torch
    from safetensors.torch import save_file

    from engines.families.sprite.denoiser import Denoiser
    from engines.families.sprite.vae import Vae

    torch.manual_seed(0)
    folder.mkdir()
    for name, module in (("vae", Vae()), ("denoiser", Denoiser())):
        halves = {key: value.half() for key, value in module.state_dict().items()}
        save_file(halves, folder / f"{name}.safetensors")
