"""What a server is given: each engine whole, under a name of its own, in a folder that appears when it is ready."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from engines import model_repository, models
from engines.errors import EngineError, EngineUnfit, EngineUnverified
from engines.key import digest_of
from engines.manifest import UNVERIFIED, Manifest
from engines.spec import TensorSpec
from engines.store import Found
from serving.store.directory import DirectoryStore
from tests import beside_engines


@pytest.fixture(scope="module")
def found() -> Found:
    """The sprite model's."""
    model = models.find("sprite")
    return asyncio.run(model.package_store().find(model.name, model.weights_digest()))


def write(found: Found, out: Path) -> list[str]:
    return asyncio.run(model_repository.write(found, out))


def test_each_engine_has_its_bytes_and_a_name_that_tells_which_it_is(found: Found, tmp_path: Path) -> None:
    names = write(found, tmp_path / "models")
    assert sorted(path.name for path in (tmp_path / "models").iterdir()) == sorted(names)
    for name, entry in zip(names, found.manifest.engines, strict=True):
        assert name == f"{entry.component}-{found.manifest.digest[:12]}-{entry.sha256[:12]}"
        assert digest_of((tmp_path / "models" / name / "1/model.onnx").read_bytes()) == entry.sha256
    assert [path.name for path in tmp_path.iterdir()] == ["models"]


def test_the_server_reads_the_components_face_from_its_configuration(found: Found, tmp_path: Path) -> None:
    for name, entry in zip(write(found, tmp_path / "models"), found.manifest.engines, strict=True):
        config: Any = text_format.Parse(
            (tmp_path / "models" / name / "config.pbtxt").read_text(), model_config_pb2.ModelConfig()
        )
        assert (config.name, config.platform, config.max_batch_size) == (name, "onnxruntime_onnx", 0)
        assert [group.kind for group in config.instance_group] == [model_config_pb2.ModelInstanceGroup.KIND_CPU]
        component = entry.spec.component
        for tensors, wanted in ((config.input, component.inputs), (config.output, component.outputs)):
            assert [told(tensor) for tensor in tensors] == [
                (one.name, f"TYPE_{'FP32' if one.dtype == 'float32' else 'INT64'}", free(one)) for one in wanted
            ]


def told(tensor: Any) -> tuple[str, str, list[int]]:
    return tensor.name, model_config_pb2.DataType.Name(tensor.data_type), list(tensor.dims)


def free(tensor: TensorSpec) -> list[int]:
    return [dim if isinstance(dim, int) else -1 for dim in tensor.dims]


def test_weights_beside_an_engine_lie_beside_it_again_and_the_server_can_load_it(
    tmp_path: Path, store: DirectoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    import onnxruntime

    beside_engines.lower(monkeypatch)
    built = beside_engines.machine(store, tmp_path / "builder")
    manifest = asyncio.run(beside_engines.publish(built))
    for _ in range(2):  # the second finds them there
        (name,) = write(Found(manifest, built), tmp_path / "models")
    version = tmp_path / "models" / name / "1"
    assert {path.name for path in version.iterdir()} == {
        "model.onnx",
        *(file.sha256 for file in manifest.engines[0].weights),
    }
    session = onnxruntime.InferenceSession(str(version / "model.onnx"))
    (answer,) = session.run(None, {"x": beside_engines.X})
    assert (answer == asyncio.run(beside_engines.answer(built))).all()


def test_engines_that_were_built_anew_have_other_names(
    make_manifest: Callable[..., Manifest], make_graph: Callable[..., bytes], tmp_path: Path
) -> None:
    manifest = make_manifest(make_graph())
    (entry,) = manifest.engines
    anew = replace(manifest, engines=(replace(entry, sha256=digest_of(b"other bytes of the same graph")),))
    assert anew.digest == manifest.digest
    assert model_repository.name_of(anew, anew.engines[0]) != model_repository.name_of(manifest, entry)


def test_what_is_written_already_is_left_as_it_is(found: Found, tmp_path: Path) -> None:
    names = write(found, tmp_path / "models")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "models").rglob("*")}
    assert write(found, tmp_path / "models") == names
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "models").rglob("*")} == before


def test_an_empty_folder_is_filled(found: Found, tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    assert len(write(found, tmp_path / "models")) == len(found.manifest.engines)


def another_file(folder: Path) -> None:
    (folder / "notes.txt").write_text("mine")


def another_engine(folder: Path) -> None:
    next(folder.glob("*/1/model.onnx")).write_bytes(b"mine")


def one_less(folder: Path) -> None:
    shutil.rmtree(next(folder.iterdir()))


def a_version_more(folder: Path) -> None:
    (next(folder.iterdir()) / "2").mkdir()
    (next(folder.iterdir()) / "2/model.onnx").write_bytes(b"mine")


def a_file_instead(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.write_text("mine")


@pytest.mark.parametrize("change", [another_file, another_engine, one_less, a_version_more, a_file_instead])
def test_a_folder_of_something_else_is_refused_and_kept(
    found: Found, tmp_path: Path, change: Callable[[Path], None]
) -> None:
    write(found, tmp_path / "models")
    change(tmp_path / "models")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(EngineError, match=r"--out .*/models: there is something else"):
        write(found, tmp_path / "models")
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_run_that_is_interrupted_leaves_nothing(
    found: Found, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, written = Path.write_bytes, []

    def interrupted(path: Path, data: bytes) -> int:
        written.append(path)
        if len(written) == 3:
            raise KeyboardInterrupt
        return real(path, data)

    monkeypatch.setattr(Path, "write_bytes", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write(found, tmp_path / "models")
    assert len(written) == 3
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_run_left_is_named(found: Found, tmp_path: Path) -> None:
    (tmp_path / ".models.partial").mkdir()
    with pytest.raises(EngineUnfit, match=r"\.models\.partial: another run is writing there, or was killed"):
        write(found, tmp_path / "models")
    assert (tmp_path / ".models.partial").exists()


def test_a_place_that_cannot_be_written_is_one_line(found: Found, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EngineError, match=r"--out .*/file/models: File exists: name a folder that can be written"):
        write(found, tmp_path / "file/models")


def test_engines_that_were_never_verified_are_given_to_no_server(found: Found, tmp_path: Path) -> None:
    compiled = replace(found.manifest, end_to_end=UNVERIFIED)
    with pytest.raises(EngineUnverified, match="compiled and never verified"):
        write(Found(compiled, found.layer), tmp_path / "models")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("runtime", "device", "told"),
    [
        ("tensorrt_rtx", "sm89", "no engines of tensorrt_rtx: take a variant of onnxruntime or tensorrt"),
        ("onnxruntime", "cuda", "would run onnxruntime-cuda with roundings of its own: take a variant for the CPU"),
    ],
)
def test_engines_that_no_server_runs_are_refused(
    found: Found, tmp_path: Path, runtime: str, device: str, told: str
) -> None:
    others = tuple(
        replace(entry, spec=replace(entry.spec, runtime=runtime, device=device)) for entry in found.manifest.engines
    )
    with pytest.raises(EngineUnfit, match=told):
        write(Found(replace(found.manifest, engines=others), found.layer), tmp_path / "models")


def test_engines_for_a_gpu_are_plans_that_stay_on_it(found: Found) -> None:
    entry = found.manifest.entry("dit")
    compiled = replace(entry, spec=replace(entry.spec, runtime="tensorrt", device="sm90"))
    manifest = replace(found.manifest, engines=(compiled,))
    platform = model_repository.platform_of(manifest)
    assert platform.file == "model.plan"
    config: Any = text_format.Parse(
        model_repository.config(manifest, compiled, platform), model_config_pb2.ModelConfig()
    )
    assert config.platform == "tensorrt_plan"
    assert [group.kind for group in config.instance_group] == [model_config_pb2.ModelInstanceGroup.KIND_GPU]
