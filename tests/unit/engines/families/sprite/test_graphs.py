"""The shipped graphs must be the shipped weights: parity with torch, one file for all canvases."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the weights' own modules need longtake[build]")

from engines.families.graph import GraphSpec  # noqa: E402
from engines.families.sprite import captions, graphs, packing, world  # noqa: E402
from engines.families.sprite.family import SpriteFamily  # noqa: E402
from engines.session import Session  # noqa: E402


@pytest.fixture(scope="module")
def specs() -> dict[str, GraphSpec]:
    return graphs.components(SpriteFamily().weights)


def difference(specs: dict[str, GraphSpec], shipped: Session, name: str, inputs: dict[str, np.ndarray]) -> float:
    """Largest difference between torch and ONNX Runtime over all outputs."""
    spec = specs[name]
    with torch.no_grad():
        wanted = spec.module(*(torch.from_numpy(inputs[key]) for key in spec.input_names))
    wanted = wanted if isinstance(wanted, tuple) else (wanted,)
    found = shipped.infer(name, inputs)
    assert list(found) == list(spec.output_names)
    return max(
        float(np.abs(found[key] - value.numpy()).max()) for key, value in zip(spec.output_names, wanted, strict=True)
    )


@pytest.mark.parametrize("canvas", list(world.CANVASES.values()))
@pytest.mark.parametrize("batch", [1, 3])
def test_each_canvas_and_batch_runs_through_the_same_files(
    specs: dict[str, GraphSpec], shipped: Session, canvas: tuple[int, int], batch: int
) -> None:
    rng = np.random.default_rng(0)
    h, w = canvas[0] // 8, canvas[1] // 8

    def normal(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape, dtype=np.float32)

    frames = rng.random((batch, 4, 3, *canvas), dtype=np.float32) * 2 - 1
    assert difference(specs, shipped, "vae_encoder", {"frames": frames}) < 1e-4
    latent, cache = normal(batch, 16, h, w), normal(batch, 128, h, w)
    assert difference(specs, shipped, "vae_decoder_first", {"latent": latent}) < 1e-2
    assert difference(specs, shipped, "vae_decoder_step", {"latent": latent, "cache_in": cache}) < 1e-2
    root = packing.pack(normal(batch, 5, 16, h, w), reference=normal(batch, 16, 4, 4))
    extension = packing.pack(
        normal(batch, 4, 16, h, w), anchor=normal(batch, 1, 16, h, w), short=normal(batch, 2, 16, h, w)
    )
    for packed in (root, extension):
        where = packed.positions
        inputs = {
            "tokens": packed.tokens,
            "text": normal(batch, 14, 128),
            "row": where.row,
            "col": where.col,
            "frame": where.frame,
            "segment": where.segment,
            "levels": packing.levels(batch, 0.7),
        }
        assert difference(specs, shipped, "dit", inputs) < 1e-3


def test_a_reference_picture_and_a_caption_run_too(specs: dict[str, GraphSpec], shipped: Session) -> None:
    picture = np.random.default_rng(0).random((1, 4, 3, 32, 32), dtype=np.float32) * 2 - 1
    assert difference(specs, shipped, "vae_encoder", {"frames": picture}) < 1e-4
    ids = np.stack([captions.tokenize("it moves left"), captions.tokenize("a red circle moves up")])
    assert difference(specs, shipped, "text_encoder", {"token_ids": ids}) == 0


def test_weights_and_graphs_stay_small() -> None:
    files = SpriteFamily().weights
    weights = [files.size(name) for name in files.names() if name.endswith(".safetensors")]
    assert len(weights) == 2
    assert max(weights) <= 3_000_000
    assert sum(path.stat().st_size for path in SpriteFamily.prebuilt.glob("*.onnx")) <= 20_000_000
