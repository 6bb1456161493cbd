"""Components of Wan in their real sizes with random weights, as graphs, and their engines for this machine's device."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final, cast

from engines.building import half
from engines.families.graph import GraphSpec
from engines.families.wan.architecture import Architecture
from engines.runtimes.base import Runtime, Source
from engines.spec import ComponentSpec, DType, EngineSpec, Span, TensorSpec

OF_1_3B: Final = {
    "num_attention_heads": 12,
    "attention_head_dim": 128,
    "in_channels": 16,
    "out_channels": 16,
    "text_dim": 4096,
    "freq_dim": 256,
    "ffn_dim": 8960,
    "num_layers": 30,
}
"""Wan 2.1's smaller transformer."""
ARCHITECTURE: Final = Architecture(
    checkpoint=cast("Any", None),  # nothing here lies in files
    task="text",
    latent_channels=16,
    latent_stride=8,
    frames_per_latent=4,
    patch=(1, 2, 2),
    text_width=4096,
    condition_channels=0,
    flow_shift=3.0,
    words=256384,
    pad_id=0,
)


def transformer(sizes: Mapping[str, int], size: tuple[int, int, int], device: str) -> GraphSpec:
    """The denoiser, to be tuned for latents of this many frames, rows and columns."""
    import diffusers
    import torch

    from engines.families.wan import graphs

    torch.manual_seed(0)
    with torch.device(device):
        module = diffusers.WanTransformer3DModel(**sizes).eval().requires_grad_(requires_grad=False)
    graph = graphs._dit(graphs.Denoise(module, ARCHITECTURE), ARCHITECTURE)
    _, time, text = graph.example_inputs
    return replace(graph, example_inputs=(torch.randn(2, 16, *size), time, text))


def decoder(sizes: Mapping[str, Any], device: str) -> Mapping[str, GraphSpec]:
    """The VAE's two steppers of decoding."""
    import diffusers
    import torch

    from engines.families.wan import graphs
    from engines.families.wan import vae as steppers

    torch.manual_seed(0)
    vae = diffusers.AutoencoderKLWan(**sizes).eval().requires_grad_(requires_grad=False)
    found = graphs._decoder(steppers.DecodeFirst(vae), steppers.DecodeStep(vae), ARCHITECTURE)
    for graph in found.values():
        graph.module.to(device)
    return found


def engine(name: str, graph: GraphSpec, runtime: Runtime, device: str, precision: str) -> tuple[ComponentSpec, bytes]:
    """Its face and an engine, from its module alone."""
    face = _face(name, graph)
    spec = EngineSpec("random-wan", "none", face, runtime.name, precision, "canvases", device)
    return face, runtime.compile(Source(b"", lambda: half.halved(graph, precision)), spec, print)


def _face(name: str, graph: GraphSpec) -> ComponentSpec:
    inputs: list[TensorSpec] = []
    spans: dict[str, Span] = {}
    for tensor, value, dims in zip(graph.input_names, graph.example_inputs, graph.dynamic_shapes, strict=True):
        spans |= {dim.__name__: Span(dim.min, value.shape[axis], dim.max) for axis, dim in dims.items()}
        sizes = tuple(dims[axis].__name__ if axis in dims else size for axis, size in enumerate(value.shape))
        inputs.append(TensorSpec(tensor, cast("DType", str(value.dtype).removeprefix("torch.")), sizes))
    outputs = []
    for tensor in graph.output_names:
        taken = [given.dims for given in inputs if given.name == f"{tensor}_in"]
        outputs.append(TensorSpec(tensor, "float32", taken[0] if taken else (None,) * 5))
    return ComponentSpec(name, tuple(inputs), tuple(outputs), spans)
