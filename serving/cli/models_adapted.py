"""`longtake models add base+name --lora …`: a model that was added, with LoRA adapters merged into its weights.

`models_added.py` calls it. The result is a model of its own with engines of its own, as large and as fast as the base;
what serving needs of the checkpoint's files it shares with the base.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from serving.cli.engine_access import demand_vouched
from serving.cli.engine_build import build_into_store, progress_bar, reading
from serving.cli.stores import opened_store

if TYPE_CHECKING:
    from engines.added import Added
    from engines.checkpoints.deltas import AdapterRecord
    from engines.manifest import Manifest
    from engines.models import Model


async def add_adapted(
    name: str, adapters: Sequence[str], store_url: str | None, *, precision: str, quiet: bool
) -> tuple[Added, Manifest]:
    """Check the adapters, each FILE[=SCALE], build the engines, and register the model. Its record and its engines.

    Raises `ValueError` for what is wrong with the name or the command, `CheckpointUnfit` for an adapter that does not
    fit, `EngineNotBuilt` where nobody who is trusted here built engines of the base.
    """
    from engines.objects import base_of, is_model_name
    from serving import model_store
    from serving.clock import now_ms

    base = base_of(name)
    if base == name or not is_model_name(name):
        raise ValueError(f"name: {name!r}; a model with adapters is called after its base, like wan-1.3b+style")
    async with opened_store(store_url) as store:
        models = model_store.added(store)
        ground = await models.get(base)
        if ground is None:
            raise ValueError(f"name: {base!r} was not added, and adapters go with models that were: add that first")
        kept = await models.kept(ground)
        await demand_vouched(store, base, ground.digest)
        records = await _checked(ground.opened(kept), [_taken_apart(adapter) for adapter in adapters], quiet=quiet)
        added = replace(ground, name=name, adapters=records, added_ms=now_ms(), step_cache=0.0)
        model_store.demand_same(await models.get(name), added)
        async with model_store.opened_sources(added, store) as sources:
            [(manifest, _)] = await build_into_store(
                store, added.opened(kept), sources, precision=precision, quiet=quiet
            )
        await model_store.register(store, added, kept)
        return added, manifest


async def _checked(model: Model, adapters: Sequence[tuple[str, float]], *, quiet: bool) -> tuple[AdapterRecord, ...]:
    from engines.checkpoints import deltas
    from engines.checkpoints.adapters import AdapterFile
    from engines.threads import in_daemon
    from serving.checkpoint_source import opened_adapter

    layers, found = model.layers(), []
    with progress_bar(quiet=quiet) as show:

        def record(file: AdapterFile, source: str, scale: float) -> AdapterRecord:
            return deltas.record(file, layers, model.name, source=source, scale=scale, progress=reading(show))

        for source, scale in adapters:
            async with opened_adapter(source) as file:
                found.append(await in_daemon(partial(record, file, source, scale)))
    return tuple(found)


def _taken_apart(text: str) -> tuple[str, float]:
    """File and scale. A file's name may end in an equals sign and a number, and so may the options of a URL."""
    source, equals, said = text.rpartition("=")
    remote = text.startswith("s3://")
    in_option = remote and "=" not in source.rpartition("?")[2].rpartition("&")[2] and "?" in source
    if not equals or in_option or (not remote and Path(text).expanduser().is_file()):
        source, said = text, "1"
    try:
        scale = float(said)
    except ValueError:  # part of a name
        source, scale = text, 1.0
    if not source:
        raise ValueError(f"--lora {text}: a file, and its scale if it is not 1, like style.safetensors=0.8")
    return source if remote else str(Path(source).expanduser().absolute()), scale
