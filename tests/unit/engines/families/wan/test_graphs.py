"""The graphs of a Wan checkpoint are the modules of diffusers and transformers, at any size and batch, step by step."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from engines.checkpoints import diffusers
from engines.checkpoints.files import Folder
from engines.errors import CheckpointUnfit
from engines.families.graph import GraphSpec
from engines.families.wan import architecture
from engines.families.wan import caches as kept
from engines.spec import ComponentSpec

Make = Callable[[str], Any]
SIZES = [(1, 1, 4, 6), (2, 3, 2, 8), (3, 2, 6, 4)]
"""Batch, latents, height and width in latents."""


@pytest.fixture(scope="module")
def graphs(make_checkpoint: Make) -> Callable[[str], dict[str, GraphSpec]]:
    """The graphs of a task's checkpoint."""
    from engines.families.wan import graphs

    made: dict[str, dict[str, GraphSpec]] = {}

    def make(task: str) -> dict[str, GraphSpec]:
        if task not in made:
            files = Folder(make_checkpoint(task))
            found = architecture.read(files)
            made[task] = graphs.components(files, found, diffusers.record(files, found.checkpoint))
        return made[task]

    return make


@pytest.fixture
def grads_off(torch: Any) -> Iterator[None]:
    with torch.no_grad():
        yield


pytestmark = pytest.mark.usefixtures("grads_off")


def near(found: Any, wanted: Any, *, atol: float = 2e-6) -> None:
    np.testing.assert_allclose(found.numpy(), wanted.numpy(), rtol=0, atol=atol)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("task", ["text", "image", "vace", "5b", "two of text"])
def test_the_denoiser_is_the_one_of_diffusers(
    torch: Any, graphs: Make, make_pipeline: Make, task: str, size: tuple[int, int, int, int]
) -> None:
    batch, frames, height, width = size
    latents, text = torch.randn(batch, 4, frames, height, width), torch.randn(batch, 512, 24)
    time = torch.linspace(10, 990, batch).round()
    control, known = torch.randn(batch, 72, frames, height, width), torch.randn(batch, 8, frames, height, width)
    picture = torch.randn(batch, 5, 16)
    pipeline = make_pipeline(task)
    if task == "5b":
        # Of each latent a time of its own, the first one's 0 as of a given frame; its tokens have it each.
        time = time[:, None].repeat(1, frames)
        time[:, 0] = 0
    named, conditions = {
        "text": ({"hidden_states": latents}, ()),
        "image": (
            {"hidden_states": torch.cat([latents, known], 1), "encoder_hidden_states_image": picture},
            (known, picture),
        ),
        "vace": ({"hidden_states": latents, "control_hidden_states": control}, (control,)),
    }.get(task, ({"hidden_states": latents}, ()))
    told = time.repeat_interleave(height // 2 * (width // 2), 1) if task == "5b" else time.long()
    parts = {"dit": pipeline.transformer, "dit_2": pipeline.components.get("transformer_2")}
    for engine, transformer in parts.items():
        if transformer is not None:
            wanted = transformer(timestep=told, encoder_hidden_states=text, **named).sample
            near(graphs(task)[engine].module(latents, time, text, *conditions), wanted)


def test_a_picture_is_seen_as_by_the_layer_before_the_last(torch: Any, graphs: Make, make_pipeline: Make) -> None:
    pixels = torch.randn(3, 3, 28, 28)
    wanted = make_pipeline("image").image_encoder(pixels, output_hidden_states=True).hidden_states[-2]
    near(graphs("image")["image_encoder"].module(pixels), wanted)


def test_an_encoder_that_was_saved_as_a_part_of_clip_is_read(
    torch: Any, make_checkpoint: Make, make_pipeline: Make, tmp_path: Path
) -> None:
    """Its tensors' names begin otherwise, and there is one more of them."""
    from safetensors.torch import save_file

    from engines.families.wan.weights import Modules

    root = Path(shutil.copytree(make_checkpoint("image"), tmp_path / "checkpoint"))
    for file in (root / "image_encoder").glob("*safetensors*"):
        file.unlink()
    encoder = make_pipeline("image").image_encoder
    tensors = {f"vision_model.{name}": value.contiguous() for name, value in encoder.state_dict().items()}
    tensors["vision_model.embeddings.position_ids"] = torch.arange(5.0)
    save_file(tensors, root / "image_encoder/model.safetensors")
    files = Folder(root)
    found = diffusers.inspect(files)
    module = Modules(files, found, diffusers.record(files, found)).image_encoder()
    for name, value in encoder.state_dict().items():
        assert torch.equal(module.state_dict()[name], value)


@pytest.mark.parametrize("size", SIZES)
def test_decoding_latent_by_latent_is_decoding_the_video(
    torch: Any, graphs: Make, make_pipeline: Make, size: tuple[int, int, int, int]
) -> None:
    batch, frames, height, width = size
    latents = torch.randn(batch, 4, frames, height, width)
    wanted = make_pipeline("text").vae.decode(_raw(torch, latents)).sample
    first, step = (graphs("text")[f"vae_decoder_{name}"].module for name in ("first", "step"))
    piece, *caches = first(latents[:, :, 0])
    pieces = [piece]
    for number in range(1, frames):
        piece, *after = step(latents[:, :, number], *caches)
        assert [cache.shape for cache in after] == [cache.shape for cache in caches]
        pieces, caches = [*pieces, piece], after
    near(torch.cat(pieces, 1).transpose(1, 2), wanted)


@pytest.mark.parametrize("size", SIZES)
def test_encoding_latent_by_latent_is_encoding_the_video(
    torch: Any, graphs: Make, make_pipeline: Make, size: tuple[int, int, int, int]
) -> None:
    batch, frames, height, width = size
    video = torch.rand(batch, 4 * frames - 3, 3, 8 * height, 8 * width) * 2 - 1
    raw = make_pipeline("vace").vae.encode(video.transpose(1, 2)).latent_dist.mode()
    first, step = (graphs("vace")[f"vae_encoder_{name}"].module for name in ("first", "step"))
    latent, *caches = first(video[:, :1])
    latents = [latent]
    for number in range(1, frames):
        latent, *after = step(video[:, 4 * number - 3 : 4 * number + 1], *caches)
        assert [cache.shape for cache in after] == [cache.shape for cache in caches]
        latents, caches = [*latents, latent], after
    near(_raw(torch, torch.stack(latents, 2)), raw)


def test_the_decoders_caches_are_told_without_its_modules(graphs: Make, make_checkpoint: Make) -> None:
    found = architecture.read(Folder(make_checkpoint("text")))
    caches = graphs("text")["vae_decoder_step"].example_inputs[1:]
    wanted = [(2, channels, 2, 4 * scale, 6 * scale) for channels, scale in kept.decoder_caches(found)]
    assert [tuple(cache.shape) for cache in caches] == wanted


def test_the_encoders_caches_are_told_without_its_modules(graphs: Make, make_checkpoint: Make) -> None:
    found = architecture.read(Folder(make_checkpoint("vace")))
    caches = graphs("vace")["vae_encoder_step"].example_inputs[1:]
    told = kept.encoder_caches(found)
    wanted = [(2, channels, frames, 4 * scale, 6 * scale) for channels, scale, frames in told]
    assert [tuple(cache.shape) for cache in caches] == wanted


def test_a_vae_of_wan_2_2_is_decoded_and_encoded_alike(torch: Any) -> None:
    from diffusers import AutoencoderKLWan

    from engines.families.wan import vae as steppers

    torch.manual_seed(3)
    vae = AutoencoderKLWan(
        base_dim=4,
        decoder_base_dim=8,
        z_dim=4,
        dim_mult=[1, 2, 2, 2],
        num_res_blocks=1,
        latents_mean=[0.0] * 4,
        latents_std=[1.0] * 4,
        is_residual=True,
        patch_size=2,
        in_channels=12,
        out_channels=12,
    ).eval()
    latents, video = torch.randn(2, 4, 3, 2, 3), torch.rand(2, 9, 3, 32, 48) * 2 - 1
    frame, *caches = steppers.DecodeFirst(vae)(latents[:, :, 0])
    pieces = [frame]
    for number in (1, 2):
        frame, *caches = steppers.DecodeStep(vae)(latents[:, :, number], *caches)
        pieces.append(frame)
    near(torch.cat(pieces, 1).transpose(1, 2), vae.decode(latents).sample)
    latent, *caches = steppers.EncodeFirst(vae)(video[:, :1])
    found = [latent]
    for number in (1, 5):
        latent, *caches = steppers.EncodeStep(vae)(video[:, number : number + 4], *caches)
        found.append(latent)
    near(torch.stack(found, 2), vae.encode(video.transpose(1, 2)).latent_dist.mode())


def test_text_is_that_of_the_pipeline_and_nothing_where_there_is_no_token(
    torch: Any, graphs: Make, make_pipeline: Make
) -> None:
    pipeline = make_pipeline("text")
    prompts = ["a red cat runs over the hill", "dog", ""]
    wanted = pipeline.encode_prompt(prompts, do_classifier_free_guidance=False, max_sequence_length=512)[0]
    said = pipeline.tokenizer(prompts, padding="max_length", max_length=512, return_tensors="pt")
    found = graphs("text")["text_encoder"].module(said.input_ids, said.attention_mask)
    near(found, wanted)
    assert not found[1, 2:].any()


def test_weights_that_do_not_fit_their_configuration_are_told(make_checkpoint: Make, tmp_path: Path) -> None:
    from engines.families.wan.weights import Modules

    for part, change, told in (
        ("vae", {"base_dim": 8}, "where its config.json makes"),
        ("transformer", {"num_layers": 3}, "no weights for blocks.2"),
    ):
        root = tmp_path / told.replace(" ", "-")
        shutil.copytree(make_checkpoint("text"), root)
        path = root / part / "config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
        files = Folder(root)
        found = diffusers.inspect(files)
        with pytest.raises(CheckpointUnfit, match=told):
            getattr(Modules(files, found, diffusers.record(files, found)), part)()


@pytest.mark.timeout(1200)  # an export takes seconds, and minutes on a busy machine
@pytest.mark.parametrize("task", ["vace", "5b"])
def test_the_exported_graph_takes_every_size_and_batch(torch: Any, graphs: Make, task: str) -> None:
    pytest.importorskip("onnxscript", reason="a build needs longtake[build]")
    from engines.building import export, lint
    from engines.runtimes.onnxruntime import OnnxRuntimeRunner
    from engines.runtimes.torch import TorchRunner

    graph = graphs(task)["dit"]
    engine, face, _ = export.export("dit", graph)
    lint.lint("dit", engine)
    with ExitStack() as stack:
        found, wanted = (
            stack.enter_context(runner)
            for runner in (OnnxRuntimeRunner(face, engine, threads=1), TorchRunner(face, graph.module))
        )
        for batch, frames, height, width in SIZES:
            inputs = _inputs(face, {"B": batch, "T": frames, "rows": height // 2, "cols": width // 2})
            velocity = {runner: np.asarray(runner.infer(inputs)["velocity"], np.float32) for runner in (found, wanted)}
            np.testing.assert_allclose(velocity[found], velocity[wanted], rtol=0, atol=1e-5)


def _raw(torch: Any, latents: Any) -> Any:
    mean, deviation = [0.1, -0.2, 0.3, 0.0], [1.5, 0.7, 2.0, 1.1]
    return latents * torch.tensor(deviation).view(-1, 1, 1, 1) + torch.tensor(mean).view(-1, 1, 1, 1)


def _inputs(face: ComponentSpec, sizes: dict[str, int]) -> dict[str, NDArray[np.float32]]:
    random = np.random.default_rng(5)
    dims = {**sizes, "2*rows": 2 * sizes["rows"], "2*cols": 2 * sizes["cols"]}
    found = {}
    for tensor in face.inputs:
        shape = [dims[dim] if isinstance(dim, str) else int(dim or 0) for dim in tensor.dims]
        values = random.standard_normal(shape)
        found[tensor.name] = (values if tensor.name != "time" else 500 + 100 * values.round()).astype(np.float32)
    return found
