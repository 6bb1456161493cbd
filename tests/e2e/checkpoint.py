"""A checkpoint in a bucket, for an EngineBuild: of Wan's form, tiny and random, made by diffusers as real ones are."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from serving.store.open import open_store

_ROOM = "checkpoints"


def in_bucket(url: str, folder: Path) -> str:
    """Put it below a store's URL; where it lies then."""
    for package in ("torch", "diffusers", "transformers", "tokenizers"):
        pytest.importorskip(package, reason="the checkpoint is made with longtake[build]")
    from tests.unit.engines.families.wan.checkpoints import save

    save("text", folder / _ROOM)
    place, mark, options = url.partition("?")
    asyncio.run(_upload(url, folder / _ROOM))
    return f"{place}/{_ROOM}{mark}{options}"


async def _upload(url: str, folder: Path) -> None:
    store = await open_store(url, probe=False)
    try:
        for path in folder.rglob("*"):
            if path.is_file():
                await store.put_if_absent(f"{_ROOM}/{path.relative_to(folder).as_posix()}", path.read_bytes())
    finally:
        await store.close()
