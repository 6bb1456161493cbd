"""LoRA adapters are merged as diffusers fuses them, under every name of a layer; what does not fit is a sentence."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engines import models
from engines.adding import record as record_checkpoint
from engines.building import build, merge
from engines.checkpoints import deltas
from engines.checkpoints.adapters import AdapterFile
from engines.checkpoints.deltas import AdapterRecord
from engines.checkpoints.files import Folder
from engines.errors import CheckpointUnfit
from engines.families.buildable import Sizes
from tests.unit.engines.families.wan.adapters import Naming, Values, save, tensors

SCALE = 0.7
SETTINGS = "lora_adapter_metadata"
Q = "transformer.blocks.0.attn1.to_q"


@pytest.fixture(scope="module")
def model(make_checkpoint: Callable[[str], Path]) -> models.Model:
    """The tiny checkpoint's."""
    return models.opened(Folder(make_checkpoint("text")), name="wan-tiny")


@pytest.fixture
def recorded(model: models.Model) -> Callable[..., AdapterRecord]:
    """Records a file for the model."""

    def make(path: Path, scale: float = SCALE) -> AdapterRecord:
        file = AdapterFile(Folder(path.parent), path.name)
        return deltas.record(
            file, model.layers(), model.name, source=str(path), scale=scale, progress=lambda _, done, total: None
        )

    return make


@pytest.fixture
def merged(model: models.Model, recorded: Callable[..., AdapterRecord]) -> Callable[[Path], dict[str, Any]]:
    """The denoiser's weights with a file merged."""

    def make(path: Path) -> dict[str, Any]:
        modules = model.family.graphs(model.weights)
        merge.merge(modules, model, AdapterFile(Folder(path.parent), path.name), recorded(path), lambda _: None)
        return dict(modules["dit"].module.get_submodule("transformer").state_dict())

    return make


@pytest.fixture(scope="module")
def plain(make_pipeline: Callable[[str], Any]) -> dict[str, Any]:
    """Its weights without one."""
    return dict(make_pipeline("text").transformer.state_dict())


@pytest.mark.parametrize(
    ("naming", "alpha"), [("diffusers", None), ("original", None), ("original", 2.0), ("kohya", 2.0)], ids=str
)
def test_it_is_what_diffusers_makes_of_the_file(
    torch: Any,
    merged: Callable[[Path], dict[str, Any]],
    plain: dict[str, Any],
    tmp_path: Path,
    naming: Naming,
    alpha: float | None,
) -> None:
    """Their names by diffusers' own conversion; W + scale · B·A by torch."""
    from diffusers import WanPipeline

    path = save(tmp_path / "style.safetensors", tensors(naming, alpha=alpha))
    theirs = WanPipeline.lora_state_dict(str(tmp_path), weight_name=path.name, local_files_only=True)
    found, changed = merged(path), 0
    for name, values in plain.items():
        layer, wanted = f"transformer.{name.removesuffix('.weight')}", values
        if (down := theirs.pop(f"{layer}.lora_A.weight", None)) is not None:
            wanted = values + SCALE * (theirs.pop(f"{layer}.lora_B.weight") @ down)
            changed += 1
        torch.testing.assert_close(found[name], wanted, rtol=1e-5, atol=1e-6)
    assert (changed, theirs) == (20, {})


@pytest.mark.parametrize(
    ("said", "strength"),
    [
        ({}, 1),
        ({"lora_alpha": 8}, 8 / 4),
        ({"lora_alpha": 8, "use_rslora": True}, 8 / 2),
        ({"lora_alpha": 8, "alpha_pattern": {"to_k": 2, "^blocks.0.attn1.to_q": 6}}, 6 / 4),
        ({"alpha_pattern": {r"attn1\.to_q": 2}}, 2 / 4),
        ({"alpha_pattern": {"blocks.1.attn1.to_q": 2}}, 1),
    ],
    ids=str,
)
def test_alphas_of_pefts_settings_count(
    merged: Callable[[Path], dict[str, Any]],
    plain: dict[str, Any],
    tmp_path: Path,
    said: Mapping[str, Any],
    strength: float,
) -> None:
    found = {name: values for name, values in tensors("diffusers", rank=4).items() if name.startswith(f"{Q}.")}
    header = {SETTINGS: json.dumps({f"transformer.{name}": value for name, value in said.items()})}
    changed = merged(save(tmp_path / "style.safetensors", found, header))
    product = found[f"{Q}.lora_B.weight"] @ found[f"{Q}.lora_A.weight"]
    name = "blocks.0.attn1.to_q.weight"
    np.testing.assert_allclose(changed[name] - plain[name], SCALE * strength * product, rtol=1e-4, atol=1e-5)


def test_differences_of_weights_and_biases_are_added_too(
    merged: Callable[[Path], dict[str, Any]], plain: dict[str, Any], tmp_path: Path
) -> None:
    found: dict[str, Values] = {
        "diffusion_model.blocks.0.norm3.diff": np.full(24, 2, np.float16),
        "diffusion_model.blocks.0.norm3.diff_b": np.full(24, 3, np.float32),
        "diffusion_model.blocks.1.modulation.diff": np.full((1, 6, 24), 4, np.float32),
        "transformer.proj_out.lora_A.weight": np.ones((2, 24), np.float32),
        "transformer.proj_out.lora_B.weight": np.ones((16, 2), np.float32),
        "transformer.proj_out.lora_B.bias": np.full(16, 6, np.float32),
    }
    changed = merged(save(tmp_path / "style.safetensors", found))
    added = {name: changed[name] - values for name, values in plain.items() if not changed[name].equal(values)}
    wanted = {
        "blocks.0.norm2.weight": 2,
        "blocks.0.norm2.bias": 3,
        "blocks.1.scale_shift_table": 4,
        "proj_out.weight": 2,
        "proj_out.bias": 6,
    }
    assert added.keys() == wanted.keys()
    for name, value in wanted.items():
        np.testing.assert_allclose(added[name], SCALE * value, rtol=1e-5)


def test_half_precision_is_read_as_it_is(recorded: Callable[..., AdapterRecord], torch: Any, tmp_path: Path) -> None:
    from safetensors.torch import save_file as save_torch

    values = {name: torch.from_numpy(value).bfloat16() for name, value in tensors("kohya", alpha=2.0).items()}
    values["lora_unet_blocks_0_ffn_0.alpha"] = torch.tensor(2)  # a whole number, as some trainers save it
    path = tmp_path / "style.safetensors"
    save_torch(values, path)
    found = recorded(path)
    assert (found.rank, found.layers, found.scale) == (4, 20, SCALE)


BROKEN: dict[str, tuple[Callable[[dict[str, Values]], Any], str]] = {
    "of another model": (
        lambda found: found.update({"lora_unet_down_blocks_0_attn_q.lora_down.weight": np.ones((3, 24), np.float32)}),
        r"lora_unet_down_blocks_0_attn_q.* is no layer of wan-tiny, whose layers are called like .*trained for this",
    ),
    "of a larger one": (
        lambda found: found.update({f"{Q}.lora_A.weight": np.ones((3, 48), np.float32)}),
        r"to_q\.lora_A\.weight \[3, 48\], where \[3, 24\] fits",
    ),
    "of two ranks": (
        lambda found: found.update({f"{Q}.lora_B.weight": np.ones((24, 4), np.float32)}),
        r"to_q\.lora_B\.weight \[24, 4\], where \[24, 3\] fits",
    ),
    "without a half": (lambda found: found.pop(f"{Q}.lora_B.weight"), r"to_q has no up half.*lora_A\.weight.*whole"),
    "of one half alone": (
        lambda found: [found.pop(name) for name in list(found) if "lora_A" in name],
        r"has no down half \(lora_A\.weight or lora_down\.weight\)",
    ),
    "of rank 0": (
        lambda found: found.update(
            {f"{Q}.lora_A.weight": np.ones((0, 24), np.float32), f"{Q}.lora_B.weight": np.ones((24, 0), np.float32)}
        ),
        "rank 0",
    ),
    "not finite": (
        lambda found: found[f"{Q}.lora_A.weight"].__setitem__((0, 0), np.nan),
        r"to_q\.lora_A\.weight has values that are not finite",
    ),
    "too large": (
        lambda found: found.update({name: values * 1e30 for name, values in found.items() if Q in name}),
        "to_q at scale 0.7 is more than float32 holds: choose a smaller scale",
    ),
    "by two names": (
        lambda found: found.update(tensors("kohya")),
        "is there by another name too",
    ),
    "twice": (
        lambda found: found.update({f"{Q}.lora_down.weight": np.ones((3, 24), np.float32)}),
        "comes twice, by two names",
    ),
    "of whole numbers": (
        lambda found: found.update({f"{Q}.lora_A.weight": np.ones((3, 24), np.int64)}),
        "is I64: save it in F32",
    ),
    "quantised": (lambda found: found.update({f"{Q}.lora_A.weight": np.ones((3, 24), np.int8)}), "is I8"),
    "of convolutions": (
        lambda found: found.update(
            {
                "transformer.patch_embedding.lora_A.weight": np.ones((3, 4, 1, 2, 2), np.float32),
                "transformer.patch_embedding.lora_B.weight": np.ones((24, 3, 1, 1, 1), np.float32),
            }
        ),
        "patch_embedding is no linear layer",
    ),
    "DoRA": (lambda found: found.update({f"{Q}.dora_scale": np.ones(24, np.float32)}), "is of DoRA"),
    "LoHa": (lambda found: found.update({f"{Q}.hada_w1_a": np.ones(24, np.float32)}), "is of LoHa"),
    "weights": (lambda found: found.update({f"{Q}.weight": np.ones(24, np.float32)}), "is no part of a LoRA"),
    "escapes": (
        lambda found: found.update({f"{Q}\x1b[2J": np.ones(24, np.float32)}),
        r"\\x1b\[2J' is no tensor's name",
    ),
    "a bias for none": (
        lambda found: found.update({"diffusion_model.blocks.0.self_attn.norm_q.diff_b": np.ones(24, np.float32)}),
        "where the layer has none",
    ),
    "empty": (dict.clear, "no tensors in it"),
}


@pytest.mark.parametrize("change", BROKEN.values(), ids=BROKEN)
def test_what_is_wrong_with_one_is_told_in_a_line(
    recorded: Callable[..., AdapterRecord],
    tmp_path: Path,
    change: tuple[Callable[[dict[str, Values]], Any], str],
) -> None:
    found = tensors("diffusers")
    change[0](found)
    with pytest.raises(CheckpointUnfit, match=change[1]) as told:
        recorded(save(tmp_path / "style.safetensors", found))
    assert "\n" not in str(told.value)
    assert str(told.value).startswith("style.safetensors: ")


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("[[", "no JSON object"),
        ("3", "no JSON object"),
        ('{"transformer.use_dora": true}', "says DoRA"),
        ('{"transformer.lora_alpha": "much"}', "gives .* no alpha"),
        ('{"unet.lora_alpha": 8}', "says unet.lora_alpha, and the layers are called `transformer.…`"),
        ('{"alpha_pattern": {"to_q": 6}}', "says alpha_pattern, and the layers are called"),
        ('{"transformer.lora_alpha": 1e999}', "the alpha inf"),
        ('{"transformer.alpha_pattern": ["to_q"]}', "gives .* no alpha"),
        ('{"transformer.alpha_pattern": {"(a+)+$": 1}}', "only names of layers are taken"),
    ],
)
def test_settings_that_are_none_are_told(
    recorded: Callable[..., AdapterRecord], tmp_path: Path, said: str, told: str
) -> None:
    with pytest.raises(CheckpointUnfit, match=rf"style\.safetensors: {SETTINGS}.*{told}"):
        recorded(save(tmp_path / "style.safetensors", tensors("diffusers"), {SETTINGS: said}))


@pytest.mark.parametrize(
    ("name", "data", "told"),
    [
        ("style.safetensors", b"\x80\x04pickled", "as a pickle, which is never opened"),
        ("style.safetensors", b"PK\x03\x04 zipped", "as a pickle"),
        ("style.pt", b"anything", "as a pickle"),
        ("style.safetensors", (1 << 40).to_bytes(8, "little") + b"{}", "do not hold a safetensors header"),
        ("style.safetensors", b"", "do not hold a safetensors header"),
        ("style.safetensors", (4).to_bytes(8, "little") + b"{]  ", "no safetensors header"),
        ("style.safetensors", (24).to_bytes(8, "little") + b'{"__metadata__":{"a":1}}', "no safetensors header"),
    ],
)
def test_bytes_that_are_no_adapter_are_told(
    recorded: Callable[..., AdapterRecord], tmp_path: Path, name: str, data: bytes, told: str
) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(CheckpointUnfit, match=told):
        recorded(tmp_path / name)


@pytest.mark.parametrize("scale", [0.0, float("nan"), float("inf")])
def test_a_scale_that_is_none_is_refused(recorded: Callable[..., AdapterRecord], tmp_path: Path, scale: float) -> None:
    with pytest.raises(ValueError, match="scale: "):
        recorded(save(tmp_path / "style.safetensors", tensors("diffusers")), scale)


def test_engines_are_named_by_the_adapters_their_order_and_their_scales() -> None:
    one, two = (AdapterRecord(f"/{name}", name * 64, 1, 0.5, 4, 2) for name in "ab")
    found = [
        (),
        (one,),
        (two,),
        (one, two),
        (two, one),
        (replace(one, scale=0.6),),
    ]
    digests = {models.Recorded({"model_index.json": "0" * 64}, adapters).digest for adapters in found}
    assert len(digests) == len(found)
    moved = replace(one, source="/elsewhere")
    assert models.Recorded({}, (moved,)).digest == models.Recorded({}, (one,)).digest
    assert AdapterRecord.from_json(json.loads(json.dumps(one.to_json()))) == one


def test_what_is_built_is_what_was_recorded(
    make_checkpoint: Callable[[str], Path],
    make_pipeline: Callable[[str], Any],
    recorded: Callable[..., AdapterRecord],
    tmp_path: Path,
) -> None:
    """Two adapters, one after the other, into the weights that were recorded; a file that changed since is refused."""
    files = Folder(make_checkpoint("text"))
    base, kept = record_checkpoint(
        files, name="wan-tiny", source="/", sizes=Sizes(), added_ms=1, progress=lambda *_: None
    )
    paths = [
        save(tmp_path / "one.safetensors", tensors("kohya", alpha=2.0, seed=1)),
        save(tmp_path / "two.safetensors", tensors("original", seed=2)),
    ]
    added = replace(base, name="wan-tiny+both", adapters=tuple(recorded(path) for path in paths))
    model = added.opened(kept)
    assert model.weights_digest() == added.digest != base.digest
    adapters = [AdapterFile(Folder(tmp_path), path.name) for path in paths]
    told: list[str] = []
    read = partial(build.modules_of, model, files, added.recorded, adapters=adapters, tell=told.append)

    weights = read()["dit"].module.get_parameter("transformer.blocks.0.ffn.net.2.weight")

    wanted = make_pipeline("text").transformer.get_parameter("blocks.0.ffn.net.2.weight").detach().numpy()
    for key, strength, found in (
        ("lora_unet_blocks_0_ffn_2", 2 / 3, tensors("kohya", alpha=2.0, seed=1)),
        ("diffusion_model.blocks.0.ffn.2", 1, tensors("original", seed=2)),
    ):
        wanted = wanted + SCALE * strength * found[f"{key}.lora_up.weight"] @ found[f"{key}.lora_down.weight"]
    np.testing.assert_allclose(weights.detach(), wanted, rtol=1e-4, atol=1e-5)
    assert told[-1] == "two.safetensors, layer 20 of 20"
    data = bytearray(paths[1].read_bytes())
    data[-1] ^= 1
    paths[1].write_bytes(data)
    with pytest.raises(CheckpointUnfit, match=r"two\.safetensors: its digest is no longer"):
        read()


def test_a_family_without_such_layers_takes_none() -> None:
    with pytest.raises(CheckpointUnfit, match="sprite-2 takes no adapters"):
        models.find("sprite").layers()


def test_names_of_vace_and_image_checkpoints_are_known(make_checkpoint: Callable[[str], Path]) -> None:
    from engines.families.wan import architecture
    from engines.families.wan.layers import layers

    found = layers(architecture.read(Folder(make_checkpoint("vace"))))
    assert found["lora_unet_vace_blocks_0_self_attn_q"].path == "transformer.vace_blocks.0.attn1.to_q"
    assert found["diffusion_model.vace_blocks.0.before_proj"].path == "transformer.vace_blocks.0.proj_in"
    found = layers(architecture.read(Folder(make_checkpoint("image"))))
    assert found["lora_unet_blocks_1_cross_attn_k_img"].path == "transformer.blocks.1.attn2.add_k_proj"
    assert found["diffusion_model.img_emb.proj.1"].path == (
        "transformer.condition_embedder.image_embedder.ff.net.0.proj"
    )
