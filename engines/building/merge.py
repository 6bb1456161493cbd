"""Merges LoRA adapters into the torch modules of a model, before its engines are built.

`build.py` calls it. W + scale · B·A, in float32, layer by layer: the engines are as large and as fast as without.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from engines.checkpoints import adapters, deltas
from engines.checkpoints.adapters import AdapterFile
from engines.checkpoints.deltas import AdapterRecord
from engines.errors import CheckpointUnfit
from engines.families.graph import GraphSpec
from engines.models import Model


def merge(
    modules: Mapping[str, GraphSpec],
    model: Model,
    file: AdapterFile,
    record: AdapterRecord,
    tell: Callable[[str], None],
) -> None:
    """Add what an adapter says to the modules' weights, in place. `tell` is told the file and how far it is.

    Raises `CheckpointUnfit` where the file does not fit the model, or is not the one that was recorded: then the
    modules are of no use.
    """
    import torch

    adapter = adapters.read(file, model.layers(), model.name)
    for number, delta in enumerate(deltas.deltas(file, adapter, record.sha256, record.scale), 1):
        tell(f"{file.name}, layer {number} of {record.layers}")
        path = delta.layer.parameter(delta.part)
        try:
            parameter = modules[delta.layer.component].module.get_parameter(path)
        except AttributeError as error:
            raise CheckpointUnfit(f"{file.name}: {path} is used by no engine: train it without this layer") from error
        parameter.data.add_(torch.from_numpy(delta.values))
