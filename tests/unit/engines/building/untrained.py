"""Weights of the model that ships as they are before any training: as many as `dit.BLOCKS` says at the moment."""

from __future__ import annotations

from pathlib import Path


def untrained(folder: Path) -> None:
    """Fill a new folder. Needs torch."""
    import torch
    from safetensors.torch import save_file

    from engines.families.sprite import captions
    from engines.families.sprite.dit import Dit, TextTable
    from engines.families.sprite.vae import Vae

    torch.manual_seed(0)
    folder.mkdir()
    text, dit = TextTable(len(captions.VOCAB)), Dit()
    save_file({name: value.half() for name, value in Vae().state_dict().items()}, folder / "vae.safetensors")
    parts = {
        **{f"text.{name}": value.half() for name, value in text.state_dict().items()},
        **{f"dit.{name}": value.half() for name, value in dit.state_dict().items()},
    }
    save_file(parts, folder / "dit.safetensors")
