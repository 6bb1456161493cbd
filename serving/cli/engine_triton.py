"""`longtake engines triton-repo`: a model's engines as a Triton Inference Server loads them."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Annotated, Any

import typer

from serving.cli.engine_access import ModelName, StoreUrl, Variant, clear_errors, opened
from serving.cli.output import Output

Out = Annotated[Path, typer.Option("--out", help="Folder to write; it is not there yet, or holds these very engines.")]


def triton_repo(
    out: Out,
    model: ModelName = "sprite",
    variant: Variant = None,
    store: StoreUrl = None,
    output: Output = "text",
) -> None:
    """Write a model's verified engines as a model repository of a NVIDIA Triton Inference Server.

    Stages call that server, and load no engine themselves, where the setting `engines.triton` has its address. Each
    engine's name there tells which one it is: write another folder when engines were replaced.

    Example: longtake engines triton-repo --model sprite --out models && tritonserver --model-repository=models
    """
    with clear_errors():
        told = asyncio.run(_written(model, store, variant, out))
    if output == "json":
        typer.echo(json.dumps(told))
        return
    typer.echo(f"{out}: {len(told['models'])} engines of {told['model']} for {told['variant']}")
    for name in told["models"]:
        typer.echo(f"  {name}")
    typer.echo("Start `tritonserver --model-repository` there, and name its gRPC in `engines.triton`.")


async def _written(name: str, store_url: str | None, variant: str | None, out: Path) -> dict[str, Any]:
    from engines import model_repository

    async with opened(name, store_url, variant) as (_, found):
        names = await model_repository.write(found, out)
    manifest = found.manifest
    return {
        "model": manifest.model,
        "digest": manifest.digest,
        "variant": manifest.variant,
        "out": str(out),
        "models": names,
    }
