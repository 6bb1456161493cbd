"""Runs the graphs as the torch modules that they are exported from: weights can be scored as they train."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from engines.checkpoints.files import Folder
from engines.families.graph import GraphSpec
from engines.families.sprite import graphs


class Modules:
    """Implements `base.Engines`, in float32."""

    def __init__(self, weights: Path | Mapping[str, GraphSpec], device: str = "cpu") -> None:
        """A folder of denoiser.safetensors and vae.safetensors, or the graphs themselves."""
        self._graphs = graphs.components(Folder(weights)) if isinstance(weights, Path) else weights
        self._device = device
        for graph in self._graphs.values():
            graph.module.to(device)

    @torch.inference_mode()
    def infer(self, component: str, inputs: Mapping[str, NDArray[np.generic]]) -> dict[str, NDArray[np.generic]]:
        """Run one component."""
        graph = self._graphs[component]
        values = [torch.from_numpy(np.ascontiguousarray(inputs[name])).to(self._device) for name in graph.input_names]
        found = graph.module(*values)
        results = found if isinstance(found, tuple) else (found,)
        return {name: result.cpu().numpy() for name, result in zip(graph.output_names, results, strict=True)}
