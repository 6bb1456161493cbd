"""Writes a model's engines as a model repository: the folder from which a NVIDIA Triton Inference Server loads them.

    DIR/<component>-<digest>-<engine>/config.pbtxt          the component's face
                                      1/model.onnx          or model.plan, as the store has it
                                      1/<sha256>            weights beside it

`longtake engines triton-repo` calls it; `session.py` asks the server for the same names.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from engines.errors import EngineError, EngineUnfit, EngineUnverified
from engines.key import name_on_server
from engines.manifest import EngineEntry, Manifest, unverified_message
from engines.replacing import PARTIAL
from engines.spec import DType, TensorSpec
from engines.store import Found
from engines.weights import Weights


@dataclass(frozen=True)
class Platform:
    """How the server calls a runtime, and the file that it looks for."""

    name: str
    file: str


PLATFORMS: Final = {
    "onnxruntime": Platform("onnxruntime_onnx", "model.onnx"),
    "tensorrt": Platform("tensorrt_plan", "model.plan"),
}
"""By the runtime's name."""
TYPES: Final[dict[DType, str]] = {"float32": "TYPE_FP32", "int64": "TYPE_INT64"}
VERSION: Final = "1"


async def write(found: Found, out: Path) -> list[str]:
    """Write all engines of a set, each checked against its digest, and return their names on a server.

    The folder appears when it is whole. One that holds exactly these engines stays as it is. Raises `EngineUnfit` for a
    runtime that no server has, `EngineError` for a folder of something else, `EngineUnverified`, and as `Found.read`.
    """
    manifest, out = found.manifest, out.absolute()
    if not manifest.verified:
        raise EngineUnverified(unverified_message(manifest))
    platform = platform_of(manifest)
    names = [name_of(manifest, entry) for entry in manifest.engines]
    engines = {entry.component: await found.read(entry) for entry in manifest.engines}
    configs = {entry.component: config(manifest, entry, platform) for entry in manifest.engines}
    if await asyncio.to_thread(_is_written, out, manifest, platform, engines, configs):
        return names
    with _made(out) as folder:
        for entry, name in zip(manifest.engines, names, strict=True):
            weights = await found.weights(entry)
            version = folder / name / VERSION
            version.mkdir(parents=True)
            (folder / name / "config.pbtxt").write_text(configs[entry.component], encoding="utf-8")
            await asyncio.to_thread((version / platform.file).write_bytes, engines[entry.component])
            if weights is not None:
                await asyncio.to_thread(_copied, weights, version)
    return names


def platform_of(manifest: Manifest) -> Platform:
    """What runs these engines on a server. Raises `EngineUnfit` where nothing does."""
    if manifest.runtime not in PLATFORMS:
        raise EngineUnfit(
            f"a Triton Inference Server runs no engines of {manifest.runtime}: take a variant of "
            f"{' or '.join(PLATFORMS)}; `longtake engines ls --all` lists them"
        )
    if manifest.device == "cuda":
        raise EngineUnfit(
            f"a Triton Inference Server would run {manifest.variant} with roundings of its own: take a variant for the "
            "CPU, or of tensorrt"
        )
    return PLATFORMS[manifest.runtime]


def config(manifest: Manifest, entry: EngineEntry, platform: Platform) -> str:
    """The text of an engine's `config.pbtxt`.

    Rows are a dimension of our tensors (`max_batch_size: 0`): which calls go together, the stages decide. Engines that
    were verified on a CPU stay on it, where a GPU is too.
    """
    kind = "KIND_CPU" if manifest.device == "cpu" else "KIND_GPU"
    component = entry.spec.component
    return "\n".join(
        (
            f"name: {json.dumps(name_of(manifest, entry))}",
            f"platform: {json.dumps(platform.name)}",
            "max_batch_size: 0",
            *(_tensor("input", tensor) for tensor in component.inputs),
            *(_tensor("output", tensor) for tensor in component.outputs),
            f"instance_group [ {{ count: 1 kind: {kind} }} ]",
            "",
        )
    )


def _tensor(kind: str, tensor: TensorSpec) -> str:
    if not tensor.dims:
        raise EngineUnfit(
            f"{tensor}: a server takes no tensor without dims: give it one of size 1 in the family's graph"
        )
    dims = ", ".join(str(dim) if isinstance(dim, int) else "-1" for dim in tensor.dims)
    return f"{kind} [ {{ name: {json.dumps(tensor.name)} data_type: {TYPES[tensor.dtype]} dims: [ {dims} ] }} ]"


def name_of(manifest: Manifest, entry: EngineEntry) -> str:
    """What the server calls this engine."""
    return name_on_server(entry.component, manifest.digest, entry.sha256)


def _is_written(
    out: Path, manifest: Manifest, platform: Platform, engines: dict[str, bytes], configs: dict[str, str]
) -> bool:
    """Whether the folder holds these engines. Raises `EngineError` for one that holds anything else."""
    if not os.path.lexists(out) or (out.is_dir() and not any(out.iterdir())):
        return False
    wanted: dict[Path, bytes | int] = {}
    for entry in manifest.engines:
        folder = out / name_of(manifest, entry)
        wanted[folder / "config.pbtxt"] = configs[entry.component].encode()
        wanted[folder / VERSION / platform.file] = engines[entry.component]
        wanted |= {folder / VERSION / file.sha256: file.size for file in entry.weights}
    if not _are_all(out, set(wanted)) or not all(_holds(path, content) for path, content in wanted.items()):
        raise EngineError(f"--out {out}: there is something else: name a folder that is not there yet, or remove it")
    return True


def _are_all(out: Path, wanted: set[Path]) -> bool:
    """Whether the folder has these files and no others; what lies beside them is not gone through."""
    folders = {path.relative_to(out).parts[0] for path in wanted}
    if not out.is_dir() or {path.name for path in out.iterdir()} != folders:
        return False
    return {path for path in out.rglob("*") if not path.is_dir()} == wanted


def _holds(path: Path, content: bytes | int) -> bool:
    """Of weights, which may be large, the size is compared: they are named by their digest."""
    if isinstance(content, int):
        return path.stat().st_size == content
    return path.read_bytes() == content


@contextmanager
def _made(out: Path) -> Iterator[Path]:
    """A folder beside, which takes its place when the block has filled it, and is gone otherwise."""
    partial = out.with_name(f".{out.name}{PARTIAL}")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        if partial.exists():
            raise EngineUnfit(
                f"{partial}: another run is writing there, or was killed: wait for it, or remove the folder"
            )
        partial.mkdir()
    except OSError as error:
        raise EngineError(f"--out {out}: {error.strerror}: name a folder that can be written") from error
    try:
        yield partial
        _synced(partial)
        partial.replace(out)
    except OSError as error:
        raise EngineError(f"--out {out}: {error.strerror}: make room there, or name another folder") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)  # nothing is there any more if it took its place


def _copied(weights: Weights, folder: Path) -> None:
    for file in weights.files:
        shutil.copyfile(weights.folder / file.sha256, folder / file.sha256)


def _synced(folder: Path) -> None:
    for path in [*folder.rglob("*"), folder]:
        opened = os.open(path, os.O_RDONLY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)
